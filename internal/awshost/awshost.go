// Package awshost reads the host name of a database in AWS: what kind of endpoint it is, and in which region. It only looks at the name.
package awshost

import (
	"slices"
	"strings"
)

// Kind is the kind of endpoint that a name belongs to.
type Kind string

const (
	Instance  Kind = "instance"  // one database server
	Writer    Kind = "writer"    // the endpoint of an Aurora cluster, which leads to its writer
	Reader    Kind = "reader"    // the reader endpoint of an Aurora cluster
	Custom    Kind = "custom"    // a custom endpoint, which leads to some of an Aurora cluster's instances
	Limitless Kind = "limitless" // a shard group of Aurora Limitless
	Global    Kind = "global"    // the writer of an Aurora global database, whose region may change
	Proxy     Kind = "proxy"     // an endpoint of RDS Proxy
	DSQL      Kind = "dsql"      // Aurora DSQL, which has another kind of tokens
)

// Host is what a name says about a database.
type Host struct {
	Kind   Kind
	Region string // "" for Global
	Public bool   // its certificate is signed by a public root, as those of websites are, and not by one of RDS's own
	Bundle string // the URL at which AWS publishes RDS's own roots; "" if Public, or if it is not known
}

// partitions has the domains of AWS. Each has roots of its own.
var partitions = []struct{ domain, bundle string }{
	{".amazonaws.com.cn", "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/global/global-bundle.pem"},
	{".amazonaws.com", "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"},
	{".amazonaws.eu", ""},
	{".c2s.ic.gov", ""},
	{".sc2s.sgov.gov", ""},
}

const govBundle = "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem"

// Parse returns what host says, and whether it is the name of a database in AWS. It does not resolve names, so for a CNAME of the user's it returns
// false.
func Parse(host string) (Host, bool) {
	host = Normal(host)
	if name, ok := strings.CutSuffix(host, ".on.aws"); ok {
		// <id>.dsql.<region>, and dsql-<something> before a service is public
		l := strings.Split(name, ".")
		if len(l) == 3 && strings.HasPrefix(l[1], "dsql") {
			return Host{Kind: DSQL, Region: l[2], Public: true}, true
		}
		return Host{}, false
	}
	for _, p := range partitions {
		name, ok := strings.CutSuffix(host, p.domain)
		if !ok {
			continue
		}
		l := strings.Split(name, ".")
		// <name>.<kind-><hash>.<region>.rds; China and some others have .rds.<region>
		if len(l) < 4 || slices.Contains(l, "") {
			return Host{}, false
		}
		service, region := l[len(l)-1], l[len(l)-2]
		if isRDS(region) {
			service, region = region, service
		}
		if !isRDS(service) {
			return Host{}, false
		}
		h := Host{Kind: kindOf(l[len(l)-3]), Region: region, Bundle: p.bundle}
		switch {
		case h.Kind == Proxy:
			h.Public, h.Bundle = true, ""
		case strings.HasPrefix(region, "us-gov-"):
			h.Bundle = govBundle
		}
		if region == "global" {
			h.Kind, h.Region = Global, ""
		}
		return h, true
	}
	return Host{}, false
}

// Normal returns host in the form in which it is compared and signed: in lower case, without a final dot.
func Normal(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func isRDS(label string) bool { return label == "rds" || label == "rds-fips" }

// kindOf returns the Kind that label says. label is the part of the name that ends with the account's hash.
func kindOf(label string) Kind {
	for _, k := range []struct {
		prefix string
		kind   Kind
	}{
		{"cluster-ro-", Reader},
		{"cluster-custom-", Custom},
		{"cluster-", Writer},
		{"shardgrp-", Limitless},
		{"proxy-", Proxy},
	} {
		if strings.HasPrefix(label, k.prefix) {
			return k.kind
		}
	}
	return Instance
}
