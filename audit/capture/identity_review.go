package capture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
)

const (
	// reviewTimeout is how long an API server has for a review
	// (DelegatingAuthenticationOptions.TokenRequestTimeout).
	reviewTimeout = 10 * time.Second
	// reviewTries and reviewWait bridge the restart of one of several API servers.
	reviewTries = 3
	reviewWait  = 200 * time.Millisecond
	// mostReview is the largest answer read, in bytes.
	mostReview = 4 << 20
)

// Reviews asks an API server whose a token is and who may do what.
//
// With Client it asks with credentials of its own, by TokenReview and
// SubjectAccessReview, for which the ClusterRole system:auth-delegator is enough. Without, it
// asks in the name of each user, by SelfSubjectReview (since Kubernetes 1.28) and
// SelfSubjectAccessReview, which everybody may: no credentials are needed, and none can be stolen.
type Reviews struct {
	// Server is the API server's address.
	Server *url.URL
	// Client signs on with the credentials of whoever asks; nil asks in the users' names.
	Client *http.Client
	// Transport and FrontProxy carry users' requests, as in [ProxyOptions]; only without Client.
	Transport, FrontProxy http.RoundTripper
}

// AskError is a review that could not be asked for: nothing is known of its answer.
type AskError struct {
	Kind string // TokenReview or SubjectAccessReview
	Err  error
}

func (e *AskError) Error() string { return "ask for " + e.Kind + ": " + e.Err.Error() }

// Unwrap is the cause.
func (e *AskError) Unwrap() error { return e.Err }

// ReviewAgent is the User-Agent of what [Reviews] asks. Without credentials of its own it
// asks in users' names: this tells such requests apart in the API server's log.
const ReviewAgent = "ktrail-proxy"

// TokenError is a token that the API server does not take.
type TokenError struct{ Reason string }

func (e *TokenError) Error() string {
	const invalid = "invalid bearer token"
	if e.Reason == "" {
		return invalid
	}
	if strings.Contains(e.Reason, invalid) { // the API server's own words
		return e.Reason
	}
	return invalid + ": " + e.Reason
}

type tokenReview struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Token string `json:"token"`
	} `json:"spec"`
	Status struct {
		Authenticated bool     `json:"authenticated"`
		User          wireUser `json:"user"`
		Error         string   `json:"error"`
	} `json:"status,omitzero"`
}

type wireUser struct {
	Username string              `json:"username"`
	UID      string              `json:"uid"`
	Groups   []string            `json:"groups"`
	Extra    map[string][]string `json:"extra"`
}

type selfReview struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Status     struct {
		UserInfo wireUser `json:"userInfo"`
	} `json:"status,omitzero"`
}

func (u *wireUser) info() audit.UserInfo {
	return audit.UserInfo{Username: u.Username, UID: u.UID, Groups: u.Groups, Extra: u.Extra}
}

// Token is the user of a bearer token. A *TokenError means that it is nobody's, an
// *AskError that the API server could not be asked.
func (v *Reviews) Token(ctx context.Context, token string) (audit.UserInfo, error) {
	if v.Client == nil {
		return v.self(ctx, token)
	}
	q := tokenReview{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"}
	q.Spec.Token = token
	var a tokenReview
	if err := v.post(ctx, v.Client, "/apis/authentication.k8s.io/v1/tokenreviews", nil, q, &a); err != nil {
		return audit.UserInfo{}, &AskError{q.Kind, err}
	}
	if !a.Status.Authenticated {
		return audit.UserInfo{}, &TokenError{a.Status.Error}
	}
	return named(q.Kind, &a.Status.User)
}

// self has the API server say who signs on with a token.
func (v *Reviews) self(ctx context.Context, token string) (audit.UserInfo, error) {
	if headers := signedOn(token); bearerToken(headers) != token || !arrives(headers["Authorization"][0]) {
		return audit.UserInfo{}, &TokenError{"no header can hold it"} // a web socket's protocol can
	}
	q := selfReview{APIVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"}
	var a selfReview
	err := v.post(ctx, asUser(v.Transport), "/apis/authentication.k8s.io/v1/selfsubjectreviews", signedOn(token), q, &a)
	refused := (*refusedError)(nil)
	switch {
	case errors.As(err, &refused) && refused.code == http.StatusUnauthorized:
		return audit.UserInfo{}, &TokenError{}
	case err != nil:
		return audit.UserInfo{}, &AskError{q.Kind, err}
	}
	return named(q.Kind, &a.Status.UserInfo)
}

// named is a user whom an API server named: an answer without a name is none.
func named(kind string, u *wireUser) (audit.UserInfo, error) {
	if u.Username == "" {
		return audit.UserInfo{}, &AskError{kind, errors.New("the answer names no user")}
	}
	return u.info(), nil
}

// asUser follows no redirects: a token is for one server.
func asUser(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func signedOn(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

// Access is a question to an API server's authorizer: may User do this?
type Access struct {
	User audit.UserInfo
	// Token is the user's, "" if the user is known otherwise. It is no part of the question.
	Token string
	Verb  string
	// Group to FieldSelector are of a resource request.
	Group, Version, Resource, Subresource, Namespace, Name string
	LabelSelector, FieldSelector                           string
	// Path is of a request that concerns no resource; it is "" otherwise.
	Path string
}

type accessReview struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Spec       accessSpec `json:"spec"`
	Status     struct {
		Allowed bool `json:"allowed"`
	} `json:"status,omitzero"`
}

type accessSpec struct {
	Resource    *accessResource     `json:"resourceAttributes,omitempty"`
	NonResource *accessPath         `json:"nonResourceAttributes,omitempty"`
	User        string              `json:"user,omitempty"`
	Groups      []string            `json:"groups,omitempty"`
	Extra       map[string][]string `json:"extra,omitempty"`
	UID         string              `json:"uid,omitempty"`
}

type accessResource struct {
	Namespace     string          `json:"namespace,omitempty"`
	Verb          string          `json:"verb,omitempty"`
	Group         string          `json:"group,omitempty"`
	Version       string          `json:"version,omitempty"`
	Resource      string          `json:"resource,omitempty"`
	Subresource   string          `json:"subresource,omitempty"`
	Name          string          `json:"name,omitempty"`
	FieldSelector *accessSelector `json:"fieldSelector,omitempty"`
	LabelSelector *accessSelector `json:"labelSelector,omitempty"`
}

type accessSelector struct {
	Raw string `json:"rawSelector"`
}

type accessPath struct {
	Path string `json:"path,omitempty"`
	Verb string `json:"verb,omitempty"`
}

func (a *Access) review() accessReview {
	r := accessReview{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"}
	r.Spec = accessSpec{User: a.User.Username, Groups: a.User.Groups, Extra: a.User.Extra, UID: a.User.UID}
	if a.Path != "" {
		r.Spec.NonResource = &accessPath{Path: a.Path, Verb: a.Verb}
		return r
	}
	selector := func(raw string) *accessSelector {
		if raw == "" {
			return nil
		}
		return &accessSelector{raw}
	}
	r.Spec.Resource = &accessResource{
		Namespace: a.Namespace, Verb: a.Verb, Group: a.Group, Version: a.Version, Resource: a.Resource,
		Subresource: a.Subresource, Name: a.Name,
		FieldSelector: selector(a.FieldSelector), LabelSelector: selector(a.LabelSelector),
	}
	return r
}

// Allowed is the API server's answer to a. An error is an *AskError.
func (v *Reviews) Allowed(ctx context.Context, a Access) (bool, error) {
	q := a.review()
	client, path, headers := v.Client, "/apis/authorization.k8s.io/v1/subjectaccessreviews", http.Header(nil)
	if client == nil {
		path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
		q.Kind = "SelfSubjectAccessReview"
		q.Spec.User, q.Spec.Groups, q.Spec.Extra, q.Spec.UID = "", nil, nil, ""
		client, headers = asUser(v.Transport), http.Header{}
		switch {
		case a.Token != "":
			headers = signedOn(a.Token)
		case isNobody(&a.User):
		case v.FrontProxy == nil:
			return false, &AskError{q.Kind, errors.New("there is no way to sign on as the user")}
		default:
			client = asUser(v.FrontProxy)
			if err := setRemote(headers, &a.User); err != nil {
				return false, &AskError{q.Kind, err}
			}
		}
	}
	var answer accessReview
	if err := v.post(ctx, client, path, headers, q, &answer); err != nil {
		return false, &AskError{q.Kind, err}
	}
	return answer.Status.Allowed, nil
}

// refusedError is an answer that is no review.
type refusedError struct {
	code int
	text string
}

func (e *refusedError) Error() string { return e.text }

// post posts a review, again where the API server is busy or away for a moment.
func (v *Reviews) post(ctx context.Context, c *http.Client, path string, headers http.Header, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	wait := reviewWait
	for try := 1; ; try++ {
		again, err := v.once(ctx, c, path, headers, body, answer)
		if err == nil || !again || try == reviewTries {
			return err
		}
		select {
		case <-time.After(wait):
			wait *= 2
		case <-ctx.Done():
			return err
		}
	}
}

// once posts a review; again says whether another try may end better.
func (v *Reviews) once(ctx context.Context, c *http.Client, path string, headers http.Header, body []byte, answer any) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.Server.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	for name, values := range headers {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", ReviewAgent)
	res, err := c.Do(r)
	if err != nil {
		return true, plainError(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, mostReview))
	if err != nil {
		return true, fmt.Errorf("read answer: %w", err)
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
		var status struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(text, &status) // only for a better message
		return res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests, &refusedError{res.StatusCode, strings.TrimSpace(v.Server.Host + " answers " + res.Status + " " + status.Message)}
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return false, fmt.Errorf("read answer: %w", err)
	}
	return false, nil
}

// plainError is err without the method and address that url.Error repeats.
func plainError(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}
