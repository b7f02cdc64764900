package awshost_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/awshost"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const (
		world = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"
		gov   = "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem"
		china = "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/global/global-bundle.pem"
	)
	for name, want := range map[string]awshost.Host{
		"db.abc123.eu-west-1.rds.amazonaws.com":                  {Kind: awshost.Instance, Region: "eu-west-1", Bundle: world},
		"DB.abc123.EU-West-1.rds.amazonaws.com.":                 {Kind: awshost.Instance, Region: "eu-west-1", Bundle: world},
		"db-green-a1b2c3.abc123.eu-west-1.rds.amazonaws.com":     {Kind: awshost.Instance, Region: "eu-west-1", Bundle: world},
		"app.cluster-abc123.us-east-1.rds.amazonaws.com":         {Kind: awshost.Writer, Region: "us-east-1", Bundle: world},
		"app.cluster-ro-abc123.us-east-1.rds.amazonaws.com":      {Kind: awshost.Reader, Region: "us-east-1", Bundle: world},
		"app.cluster-custom-abc123.us-east-1.rds.amazonaws.com":  {Kind: awshost.Custom, Region: "us-east-1", Bundle: world},
		"app.shardgrp-abc123.us-east-1.rds.amazonaws.com":        {Kind: awshost.Limitless, Region: "us-east-1", Bundle: world},
		"app.proxy-abc123.us-east-1.rds.amazonaws.com":           {Kind: awshost.Proxy, Region: "us-east-1", Public: true},
		"read.endpoint.proxy-abc123.us-east-1.rds.amazonaws.com": {Kind: awshost.Proxy, Region: "us-east-1", Public: true},
		"db.abc123.us-gov-west-1.rds.amazonaws.com":              {Kind: awshost.Instance, Region: "us-gov-west-1", Bundle: gov},
		"app.cluster-abc123.rds.us-gov-east-1.amazonaws.com":     {Kind: awshost.Writer, Region: "us-gov-east-1", Bundle: gov},
		"db.abc123.us-east-1.rds-fips.amazonaws.com":             {Kind: awshost.Instance, Region: "us-east-1", Bundle: world},
		"app.cluster-abc123.rds.cn-northwest-1.amazonaws.com.cn": {Kind: awshost.Writer, Region: "cn-northwest-1", Bundle: china},
		"app.cluster-ro-abc123.cn-north-1.rds.amazonaws.com.cn":  {Kind: awshost.Reader, Region: "cn-north-1", Bundle: china},
		"app.proxy-abc123.rds.cn-north-1.amazonaws.com.cn":       {Kind: awshost.Proxy, Region: "cn-north-1", Public: true},
		"app.global-abc123.global.rds.amazonaws.com":             {Kind: awshost.Global, Bundle: world},
		"foo0bar1baz2quux3quuux4.dsql.us-east-1.on.aws":          {Kind: awshost.DSQL, Region: "us-east-1", Public: true},
		"db.abc123.rds.us-iso-east-1.c2s.ic.gov":                 {Kind: awshost.Instance, Region: "us-iso-east-1"},
	} {
		got, ok := awshost.Parse(name)
		assert.True(t, ok, name)
		assert.Equal(t, want, got, name)
	}
	for _, name := range []string{
		"", ".", "localhost", "10.0.0.1", "::1", "/var/run/postgresql", "db.example.com",
		"rds.eu-west-1.amazonaws.com", "rds.amazonaws.com", "eu-west-1.rds.amazonaws.com", "abc123.eu-west-1.rds.amazonaws.com",
		"..eu-west-1.rds.amazonaws.com", "db..eu-west-1.rds.amazonaws.com",
		"db.abc123.eu-west-1.rds.amazonaws.com.evil.example", "db.abc123.eu-west-1.rds.notamazonaws.com",
		"ec2-1-2-3-4.eu-west-1.compute.amazonaws.com", "bucket.s3.eu-west-1.amazonaws.com", "x.lambda-url.us-east-1.on.aws",
	} {
		_, ok := awshost.Parse(name)
		assert.False(t, ok, name)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("app.cluster-ro-abc123.us-east-1.rds.amazonaws.com")
	f.Add("x.dsql.us-east-1.on.aws")
	f.Fuzz(func(t *testing.T, host string) {
		h, ok := awshost.Parse(host)
		assert.Equal(t, ok, h.Kind != "")
		assert.False(t, strings.Contains(h.Region, "."))
	})
}
