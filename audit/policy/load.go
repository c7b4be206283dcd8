package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// MaxSize is the most bytes of text that are taken for a policy. Policies are a few
// kilobytes; what is larger is another file, most likely the log itself.
const MaxSize = 4 << 20

// LoadError is one reason why the API server would not load a policy.
type LoadError struct {
	// Line and Column count from 1; 0 means that there is no place to name.
	Line, Column int
	// Field is the path of what is wrong as the API server writes it, such as
	// rules[3].nonResourceURLs[0]; "" where the text as a whole is.
	Field string
	// Msg says what is wrong. Of a field that is refused by the validation it is
	// the API server's text.
	Msg string
}

func (e *LoadError) Error() string {
	msg := e.Msg
	if e.Field != "" {
		msg = e.Field + ": " + msg
	}
	switch {
	case e.Line > 0 && e.Column > 0:
		return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, msg)
	case e.Line > 0:
		return fmt.Sprintf("line %d: %s", e.Line, msg)
	}
	return msg
}

// LoadErrors are all reasons, in the order of the text. It has one at least.
type LoadErrors []*LoadError

func (es LoadErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find the first reason.
func (es LoadErrors) Unwrap() []error {
	all := make([]error, len(es))
	for i, e := range es {
		all[i] = e
	}
	return all
}

// Load reads a policy, YAML or JSON, and refuses what kube-apiserver 1.37 refuses:
// what cannot be decoded and what its validation finds. As there, keys that it does
// not know and keys that stand twice are no error. The error is a [LoadErrors].
//
// It differs in three things, each time by refusing. The API server reads the first
// document of several and ignores the rest; it reads Kubernetes' protobuf encoding,
// which nobody writes policies in; and it knows no [MaxSize].
func Load(data []byte) (*Policy, error) {
	if len(data) > MaxSize {
		return nil, LoadErrors{{Msg: fmt.Sprintf("is %d MiB large; a policy has at most %d MiB", len(data)>>20, MaxSize>>20)}}
	}
	text, err := toJSON(data)
	if err != nil {
		return nil, LoadErrors{syntaxError(data, err)}
	}
	doc, second := readDocument(data, text)
	if second != nil {
		return nil, LoadErrors{second}
	}
	w, bad := decode(text, doc)
	if bad != nil {
		return nil, LoadErrors{bad}
	}
	p, errs := w.policy(doc)
	if len(errs) > 0 {
		return nil, errs
	}
	return p, nil
}

// toJSON is the text as JSON. The API server takes for JSON, and for nothing else,
// what begins with a brace.
func toJSON(data []byte) ([]byte, error) {
	switch trimmed := bytes.TrimSpace(data); {
	case len(trimmed) == 0:
		return nil, errors.New("there is nothing in it")
	case bytes.HasPrefix(data, []byte("k8s\x00")):
		return nil, errors.New("is protobuf; write the policy as YAML or JSON")
	case isJSON(data):
		return data, nil
	}
	return yaml.YAMLToJSON(data)
}

// wire is a policy as it is written. Its fields are those of audit.k8s.io/v1, since
// a value of the wrong type in any of them is refused.
type wire struct {
	Kind              string     `json:"kind"`
	APIVersion        string     `json:"apiVersion"`
	Metadata          metadata   `json:"metadata"`
	Rules             []wireRule `json:"rules"`
	OmitStages        []string   `json:"omitStages"`
	OmitManagedFields bool       `json:"omitManagedFields"`
}

type wireRule struct {
	Level             string           `json:"level"`
	Users             []string         `json:"users"`
	UserGroups        []string         `json:"userGroups"`
	Verbs             []string         `json:"verbs"`
	Resources         []GroupResources `json:"resources"`
	Namespaces        []string         `json:"namespaces"`
	NonResourceURLs   []string         `json:"nonResourceURLs"`
	OmitStages        []string         `json:"omitStages"`
	OmitManagedFields *bool            `json:"omitManagedFields"`
}

// metadata is ObjectMeta of k8s.io/apimachinery/pkg/apis/meta/v1. Only the name has
// a meaning here.
type metadata struct {
	Name                       string            `json:"name"`
	GenerateName               string            `json:"generateName"`
	Namespace                  string            `json:"namespace"`
	SelfLink                   string            `json:"selfLink"`
	UID                        string            `json:"uid"`
	ResourceVersion            string            `json:"resourceVersion"`
	Generation                 int64             `json:"generation"`
	CreationTimestamp          timestamp         `json:"creationTimestamp"`
	DeletionTimestamp          *timestamp        `json:"deletionTimestamp"`
	DeletionGracePeriodSeconds *int64            `json:"deletionGracePeriodSeconds"`
	Labels                     map[string]string `json:"labels"`
	Annotations                map[string]string `json:"annotations"`
	OwnerReferences            []struct {
		APIVersion         string `json:"apiVersion"`
		Kind               string `json:"kind"`
		Name               string `json:"name"`
		UID                string `json:"uid"`
		Controller         *bool  `json:"controller"`
		BlockOwnerDeletion *bool  `json:"blockOwnerDeletion"`
	} `json:"ownerReferences"`
	Finalizers    []string `json:"finalizers"`
	ManagedFields []struct {
		Manager     string     `json:"manager"`
		Operation   string     `json:"operation"`
		APIVersion  string     `json:"apiVersion"`
		Time        *timestamp `json:"time"`
		FieldsType  string     `json:"fieldsType"`
		Subresource string     `json:"subresource"`
	} `json:"managedFields"`
}

// timestamp checks that a time is RFC 3339.
type timestamp struct{}

func (*timestamp) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	_, err := time.Parse(time.RFC3339, s)
	return err
}

// decode finds out what the text is, and reads it if it is a policy.
func decode(text []byte, doc *document) (*wire, *LoadError) {
	// The API server finds these two by encoding/json, which ignores the case of
	// keys, and the rest by a decoder that does not.
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(text, &kind); err != nil {
		return nil, doc.decodeError(text, err)
	}
	at := func(field, msg string) *LoadError {
		line, column := doc.position(field)
		return &LoadError{Line: max(line, 1), Column: max(column, 1), Field: field, Msg: msg}
	}
	switch kind.APIVersion {
	case "audit.k8s.io/v1":
	case "":
		return nil, at("apiVersion", "is missing: write audit.k8s.io/v1")
	case "audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1":
		return nil, at("apiVersion", fmt.Sprintf("%q was removed in Kubernetes 1.24: write audit.k8s.io/v1", kind.APIVersion))
	default:
		return nil, at("apiVersion", fmt.Sprintf("%q is no version of an audit policy: write audit.k8s.io/v1", kind.APIVersion))
	}
	if kind.Kind != "Policy" && kind.Kind != "" { // a missing kind is taken for the right one
		return nil, at("kind", fmt.Sprintf("%q is no audit policy: write Policy", kind.Kind))
	}
	w := &wire{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, w); err != nil {
		return nil, doc.decodeError(text, err)
	}
	return w, nil
}

// policy checks what was written and makes a policy of it.
func (w *wire) policy(doc *document) (*Policy, LoadErrors) {
	if errs := w.validate(doc); len(errs) > 0 {
		return nil, errs
	}
	p := &Policy{Name: w.Metadata.Name, OmitManagedFields: w.OmitManagedFields, OmitStages: stagesOf(w.OmitStages), doc: doc}
	for i, r := range w.Rules {
		rule := Rule{
			Users: r.Users, UserGroups: r.UserGroups, Verbs: r.Verbs,
			Resources: r.Resources, Namespaces: r.Namespaces, NonResourceURLs: r.NonResourceURLs,
			OmitStages: stagesOf(r.OmitStages), OmitManagedFields: r.OmitManagedFields,
		}
		rule.Level, _ = ParseLevel(r.Level) // validated
		rule.Line, rule.Column = doc.position("rules[" + strconv.Itoa(i) + "]")
		p.Rules = append(p.Rules, rule)
	}
	return p, nil
}

func stagesOf(names []string) (s Stages) {
	for _, n := range names {
		one, _ := ParseStage(n) // validated
		s |= one
	}
	return s
}

// yamlLine is where go-yaml says that it stumbled.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntaxError is an error of toJSON with its place.
func syntaxError(data []byte, err error) *LoadError {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return &LoadError{Line: 1, Column: 1, Msg: err.Error()}
	}
	e := &LoadError{Line: 1, Column: 1, Msg: "is no YAML: " + err.Error()[len(m[0]):]}
	lines := bytes.Split(bytes.TrimRight(data, "\n"), []byte("\n"))
	if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
		e.Line = min(n, len(lines)) // it may stumble after the end
	}
	// go-yaml keeps the column to itself; what it stumbled over begins its line, mostly.
	line := lines[e.Line-1]
	e.Column = 1 + len(line) - len(bytes.TrimLeft(line, " \t"))
	return e
}
