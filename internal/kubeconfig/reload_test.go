package kubeconfig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair writes a certificate and its key, and returns the certificate.
func pair(t *testing.T, dir string, serial int64) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, dir, "tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	return der
}

// TestCertificateIsReadAgain: connections use the certificate that is in the files now, or the
// last one that could be read.
func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	first := pair(t, dir, 1)
	file := write(t, dir, "kubeconfig", strings.NewReplacer("CLUSTER", "server: https://a.test", "USER", "client-certificate: tls.crt, client-key: tls.key").Replace(config))
	c, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	shows := func(want []byte) {
		t.Helper()
		got, err := c.TLS.GetClientCertificate(&tls.CertificateRequestInfo{})
		if err != nil || !bytes.Equal(got.Certificate[0], want) {
			t.Errorf("another certificate, %v", err)
		}
	}
	shows(first)
	second := pair(t, dir, 2)
	shows(second)
	if err := os.Remove(filepath.Join(dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	shows(second)
}

// TestProxies: the file's proxy, or the environment's unless told otherwise.
func TestProxies(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		cluster string
		direct  bool
		proxied bool
	}{
		{"server: https://a.test", false, true}, // by what the environment says
		{"server: https://a.test", true, false},
		{"server: https://a.test, proxy-url: http://proxy.test:3128", true, true},
	} {
		c, err := Read(write(t, dir, "kubeconfig", strings.NewReplacer("CLUSTER", tt.cluster, "USER", "").Replace(config)))
		if err != nil {
			t.Fatal(err)
		}
		c.Direct = tt.direct
		s, ok := c.Client().Transport.(*signer)
		if !ok {
			t.Fatal("no signer")
		}
		if (s.next.Proxy != nil) != tt.proxied {
			t.Errorf("%+v: a proxy is %v", tt, s.next.Proxy != nil)
		}
	}
}
