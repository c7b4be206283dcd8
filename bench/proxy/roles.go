package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ktrail/ktrail/audit/capture"
)

// role is the main of the other processes: role-server DIR SIZE PLAIN and role-bare DIR UPSTREAM PLAIN.
func role(name string, args []string) error {
	dir, plain := args[0], args[2] == "true"
	var h http.Handler
	switch name {
	case "role-server":
		size, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		h = apiServer(size)
	case "role-bare":
		upstream, err := url.Parse(args[1])
		if err != nil {
			return err
		}
		roots, err := readRoots(dir)
		if err != nil {
			return err
		}
		bare := httputil.NewSingleHostReverseProxy(upstream)
		// Both have the same transport and a pool, so that what differs is the recording.
		bare.Transport, bare.BufferPool = capture.NewTransport(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}), &pool{}
		h = bare
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // there is nothing to cancel
	if err != nil {
		return err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 32 * time.Second, IdleTimeout: 90 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	if plain {
		fmt.Printf("%s%shttp://%s\n", name, isAt, l.Addr())
		return s.Serve(l)
	}
	fmt.Printf("%s%shttps://%s\n", name, isAt, l.Addr())
	return s.ServeTLS(l, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
}

// apiServer answers a list of size bytes at once, and whose a token is.
func apiServer(size int) http.Handler {
	list := []byte(`{"kind":"PodList","apiVersion":"v1","items":["` + strings.Repeat("x", size) + `"]}`)
	const review = `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1","metadata":{},"status":{"userInfo":{` +
		`"username":"system:serviceaccount:kube-system:generic-garbage-collector","uid":"2b1e4c8e-9f0b-4b8e-8a8c-0f6b1f9f7f3d",` +
		`"groups":["system:serviceaccounts","system:serviceaccounts:kube-system","system:authenticated"],` +
		`"extra":{"authentication.kubernetes.io/credential-id":["JTI=5e5a1a4c-6d0c-4f0e-8d7e-2a1f0e7c9b11"]}}}}`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = []string{"application/json"}
		body := list
		if strings.HasSuffix(r.URL.Path, "/selfsubjectreviews") {
			body = []byte(review)
			w.WriteHeader(http.StatusCreated)
		}
		_, _ = w.Write(body) // the proxy may be gone
	})
}

type pool struct{ p sync.Pool }

func (p *pool) Get() []byte {
	if b, ok := p.p.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (p *pool) Put(b []byte) { p.p.Put(&b) }

// writeCertificate makes cert.pem and key.pem for 127.0.0.1, its own authority.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}

func readRoots(dir string) (*x509.CertPool, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return roots, nil
}
