// Package tlstest makes certificates for tests: an authority that nobody knows, and
// what it issues, for PostgreSQL and for those who pretend to be one.
package tlstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lmipool/lmipool/internal/child"
)

// CA is an authority.
type CA struct {
	PEM  []byte // its certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority that is valid for a year, from an hour ago.
func NewCA(tb testing.TB, name string) *CA {
	tb.Helper()
	key := newKey(tb)
	c := template(name)
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &CA{PEM: encode("CERTIFICATE", der), cert: cert, key: key}
}

// Issue makes a certificate for names, of which those that are IP addresses are issued
// as such. If change is not nil, it has the last word.
func (ca *CA) Issue(tb testing.TB, change func(*x509.Certificate), names ...string) tls.Certificate {
	tb.Helper()
	key := newKey(tb)
	c := template(names[0])
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Expired has a certificate end a minute ago.
func Expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }

// Settings are those of a PostgreSQL that has cert.
func Settings(tb testing.TB, cert tls.Certificate) map[string]string {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	return map[string]string{
		"ssl":           "on",
		"ssl_cert_file": File(tb, encode("CERTIFICATE", cert.Certificate[0])),
		"ssl_key_file":  File(tb, encode("PRIVATE KEY", der)),
	}
}

// File writes what only the server's user may read, and returns its name.
func File(tb testing.TB, content []byte) string {
	tb.Helper()
	dir := tb.TempDir()
	path := filepath.Join(dir, "file")
	err := os.WriteFile(path, content, 0o600)
	if c := child.Unprivileged(); c != nil && err == nil { // who runs the server, and must own its key
		if err = os.Chown(path, int(c.Uid), int(c.Gid)); err == nil {
			if err = os.Chmod(dir, 0o755); err == nil {
				err = os.Chmod(filepath.Dir(dir), 0o755)
			}
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil { // crypto/rand does not fail
		panic(err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
