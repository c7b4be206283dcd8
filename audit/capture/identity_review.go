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

// Reviews asks an API server whose a token is and who may do what: TokenReview and
// SubjectAccessReview, for which the ClusterRole system:auth-delegator is enough.
type Reviews struct {
	// Server is the API server's address.
	Server *url.URL
	// Client signs on with the credentials of whoever asks.
	Client *http.Client
}

// AskError is a review that could not be asked for: nothing is known of its answer.
type AskError struct {
	Kind string // TokenReview or SubjectAccessReview
	Err  error
}

func (e *AskError) Error() string { return "ask for " + e.Kind + ": " + e.Err.Error() }

// Unwrap is the cause.
func (e *AskError) Unwrap() error { return e.Err }

// TokenError is a token that the API server does not take.
type TokenError struct{ Reason string }

func (e *TokenError) Error() string {
	if e.Reason == "" {
		return "invalid bearer token"
	}
	return "invalid bearer token: " + e.Reason
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

// Token is the user of a bearer token. A *TokenError means that it is nobody's, an
// *AskError that the API server could not be asked.
func (v *Reviews) Token(ctx context.Context, token string) (audit.UserInfo, error) {
	q := tokenReview{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview"}
	q.Spec.Token = token
	var a tokenReview
	if err := v.post(ctx, "/apis/authentication.k8s.io/v1/tokenreviews", q, &a); err != nil {
		return audit.UserInfo{}, &AskError{q.Kind, err}
	}
	if !a.Status.Authenticated {
		return audit.UserInfo{}, &TokenError{a.Status.Error}
	}
	u := a.Status.User
	return audit.UserInfo{Username: u.Username, UID: u.UID, Groups: u.Groups, Extra: u.Extra}, nil
}

// Access is a question to an API server's authorizer: may User do this?
type Access struct {
	User audit.UserInfo
	Verb string
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
	var answer accessReview
	if err := v.post(ctx, "/apis/authorization.k8s.io/v1/subjectaccessreviews", q, &answer); err != nil {
		return false, &AskError{q.Kind, err}
	}
	return answer.Status.Allowed, nil
}

// post posts a review, again where the API server is busy or away for a moment.
func (v *Reviews) post(ctx context.Context, path string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	wait := reviewWait
	for try := 1; ; try++ {
		again, err := v.once(ctx, path, body, answer)
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
func (v *Reviews) once(ctx context.Context, path string, body []byte, answer any) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.Server.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	res, err := v.Client.Do(r)
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
		return res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests, fmt.Errorf("%s answers %s %s", v.Server.Host, res.Status, status.Message)
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
