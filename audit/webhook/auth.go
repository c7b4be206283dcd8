package webhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// leastToken is how long a token must be: shorter ones can be guessed.
const leastToken = 16

// Tokens are bearer tokens by which a [Receiver] knows who may post.
type Tokens struct{ sums [][sha256.Size]byte }

// ParseTokens reads tokens, one a line. Empty lines and those that begin with # are left out.
func ParseTokens(text []byte) (*Tokens, error) {
	t := &Tokens{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			continue
		case strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r > '~' }):
			return nil, fmt.Errorf("line %d: a token is one word of ASCII", n)
		case len(line) < leastToken:
			return nil, fmt.Errorf("line %d: the token is shorter than %d characters and can be guessed: openssl rand -hex 32 makes one", n, leastToken)
		}
		t.sums = append(t.sums, sha256.Sum256([]byte(line)))
	}
	if len(t.sums) == 0 {
		return nil, errors.New("there is no token in it: openssl rand -hex 32 makes one")
	}
	return t, nil
}

// Check returns nil for a request that has one of the tokens. How long that takes tells nothing of them.
func (t *Tokens) Check(r *http.Request) error {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return errors.New("there is no bearer token")
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	found := 0
	for i := range t.sums {
		found |= subtle.ConstantTimeCompare(t.sums[i][:], sum[:])
	}
	if found == 0 {
		return errors.New("the bearer token is not known")
	}
	return nil
}
