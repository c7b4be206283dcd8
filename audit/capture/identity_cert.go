package capture

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/ktrail/ktrail/audit"
)

const (
	// credentialID is the extra field that says by which credential a user came.
	credentialID = "authentication.kubernetes.io/credential-id"
	// mostCertificates bounds the certificates whose verdict is kept.
	mostCertificates = 8192
	// certificateTTL is how long a verdict holds: a chain of two costs 0.1 ms to
	// verify, and the API server does it for every request.
	certificateTTL = 10 * time.Second
)

// userUID is the attribute of a certificate's subject that holds a user's UID
// (k8s.io/apimachinery/pkg/apis/asn1, X509UID).
var userUID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}

// verifier verifies client certificates against a pool that may change.
type verifier struct {
	pool func() *x509.CertPool
	seen *recent[certificateKey, error]
}

type certificateKey struct {
	pool  *x509.CertPool
	chain [sha256.Size]byte
}

func newVerifier(pool func() *x509.CertPool) *verifier {
	if pool == nil {
		return nil
	}
	return &verifier{pool: pool, seen: newRecent[certificateKey, error](mostCertificates)}
}

// verify returns the certificate that the client proved to hold, nil if it showed
// none or no authority is known.
func (v *verifier) verify(r *http.Request) (*x509.Certificate, error) {
	if v == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	pool := v.pool()
	if pool == nil {
		return nil, nil
	}
	peers := r.TLS.PeerCertificates
	key := certificateKey{pool: pool, chain: sum(peers)}
	if err, ok := v.seen.get(key); ok {
		return peers[0], err
	}
	o := x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if len(peers) > 1 {
		o.Intermediates = x509.NewCertPool()
		for _, c := range peers[1:] {
			o.Intermediates.AddCert(c)
		}
	}
	_, err := peers[0].Verify(o)
	if err != nil {
		err = fmt.Errorf("verify client certificate %d: %w", peers[0].SerialNumber, err)
	}
	until := time.Now().Add(certificateTTL)
	for _, c := range peers {
		if c.NotAfter.Before(until) && err == nil {
			until = c.NotAfter
		}
	}
	v.seen.put(key, err, until)
	return peers[0], err
}

func sum(chain []*x509.Certificate) [sha256.Size]byte {
	if len(chain) == 1 {
		return sha256.Sum256(chain[0].Raw)
	}
	// A certificate is DER: it tells its own length, so that chains cannot be
	// mistaken for one another.
	h := sha256.New()
	for _, c := range chain {
		h.Write(c.Raw)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// certificateUser is the user of a certificate as the API server reads it
// (k8s.io/apiserver/pkg/authentication/request/x509, CommonNameUserConversion); ok
// is false for one without a common name.
func certificateUser(c *x509.Certificate) (u audit.UserInfo, ok bool, err error) {
	if c.Subject.CommonName == "" {
		return audit.UserInfo{}, false, nil
	}
	uid, err := certificateUID(c)
	if err != nil {
		return audit.UserInfo{}, false, err
	}
	print := sha256.Sum256(c.Raw)
	return audit.UserInfo{
		Username: c.Subject.CommonName,
		UID:      uid,
		Groups:   slices.Clone(c.Subject.Organization),
		Extra:    map[string][]string{credentialID: {"X509SHA256=" + hex.EncodeToString(print[:])}},
	}, true, nil
}

func certificateUID(c *x509.Certificate) (string, error) {
	uid, seen := "", false
	for _, n := range c.Subject.Names {
		if !n.Type.Equal(userUID) {
			continue
		}
		s, text := n.Value.(string)
		switch {
		case !text:
			return "", errors.New("read client certificate: its UID is no text")
		case seen:
			return "", errors.New("read client certificate: it has two UIDs")
		case s == "":
			return "", errors.New("read client certificate: its UID is empty")
		}
		uid, seen = s, true
	}
	return uid, nil
}
