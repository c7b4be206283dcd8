package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ktrail/ktrail/audit"
)

// reference decodes line the slow way, over encoding/json's tokens, as the API
// server's decoder would: case-sensitive keys, objects that are there twice merged.
// What it does not share with the decoder under test is all of its code.
func reference(line []byte) (*audit.Event, error) {
	if !json.Valid(line) {
		return nil, fmt.Errorf("not JSON")
	}
	top, ok := parse(line).(object)
	if !ok {
		return nil, fmt.Errorf("not an object")
	}
	e := &audit.Event{Raw: string(line)}
	var kind, version string
	var timestamp, created audit.Time
	var oldErr, err error
	try := func(err2 error) {
		if err == nil {
			err = err2
		}
	}
	for _, m := range top {
		switch m.key {
		case "kind":
			try(set(&kind, m.value))
		case "apiVersion":
			try(set(&version, m.value))
		case "level":
			try(set(&e.Level, m.value))
		case "auditID":
			try(set(&e.AuditID, m.value))
		case "stage":
			try(set(&e.Stage, m.value))
		case "requestURI":
			try(set(&e.URI, m.value))
		case "verb":
			try(set(&e.Verb, m.value))
		case "userAgent":
			try(set(&e.Agent, m.value))
		case "sourceIPs":
			try(setList(&e.SourceIPs, m.value))
		case "stageTimestamp":
			try(setTime(&e.Time, m.value))
		case "requestReceivedTimestamp":
			try(setTime(&e.Received, m.value))
		case "timestamp":
			if err := setTime(&timestamp, m.value); err != nil {
				oldErr = err
			}
		case "metadata":
			if err := each(m.value, nil, func(k string, v any) error {
				if k == "creationTimestamp" {
					return setTime(&created, v)
				}
				return nil
			}); err != nil {
				oldErr = err
			}
		case "user":
			try(each(m.value, nil, func(k string, v any) error {
				switch k {
				case "username":
					return set(&e.User, v)
				case "uid":
					return set(&e.UserUID, v)
				case "groups":
					return setList(&e.Groups, v)
				case "extra":
					none := func() { e.CredentialID, e.Pod = "", "" }
					return each(v, none, func(k string, v any) error {
						switch k {
						case "authentication.kubernetes.io/credential-id":
							return setFirst(&e.CredentialID, v)
						case "authentication.kubernetes.io/pod-name":
							return setFirst(&e.Pod, v)
						}
						return nil
					})
				}
				return nil
			}))
		case "impersonatedUser":
			none := func() { e.AsUser, e.AsGroups = "", nil }
			try(each(m.value, none, func(k string, v any) error {
				switch k {
				case "username":
					return set(&e.AsUser, v)
				case "groups":
					return setList(&e.AsGroups, v)
				}
				return nil
			}))
		case "objectRef":
			fields := map[string]*string{
				"resource": &e.Resource, "subresource": &e.Subresource, "namespace": &e.Namespace, "name": &e.Name,
				"uid": &e.ObjectUID, "apiGroup": &e.APIGroup, "apiVersion": &e.APIVersion,
			}
			none := func() {
				for _, p := range fields {
					*p = ""
				}
			}
			try(each(m.value, none, func(k string, v any) error {
				if p := fields[k]; p != nil {
					return set(p, v)
				}
				return nil
			}))
		case "responseStatus":
			none := func() { e.Code, e.Reason, e.Message = 0, "", "" }
			try(each(m.value, none, func(k string, v any) error {
				switch k {
				case "code":
					return setCode(&e.Code, v)
				case "reason":
					return set(&e.Reason, v)
				case "message":
					return set(&e.Message, v)
				}
				return nil
			}))
		case "annotations":
			none := func() { e.Decision, e.DecisionReason, e.Truncated = "", "", false }
			try(each(m.value, none, func(k string, v any) error {
				switch k {
				case "authorization.k8s.io/decision":
					e.Decision = ""
					return set(&e.Decision, v)
				case "authorization.k8s.io/reason":
					e.DecisionReason = ""
					return set(&e.DecisionReason, v)
				case "audit.k8s.io/truncated":
					var s string
					err := set(&s, v)
					e.Truncated = s == "true"
					return err
				}
				return nil
			}))
		}
	}
	if err != nil {
		return nil, err
	}
	rest, ok := strings.CutPrefix(version, "audit.k8s.io/")
	if kind != "Event" || !ok {
		return nil, fmt.Errorf("not an audit event")
	}
	e.Version = rest
	switch rest {
	case "v1":
	case "v1alpha1", "v1beta1":
		if oldErr != nil {
			return nil, oldErr
		}
		if e.Time == 0 {
			e.Time = created
		}
		if e.Received == 0 {
			e.Received = timestamp
		}
		if g, v := e.APIVersion, ""; rest == "v1alpha1" && strings.Contains(g, "/") {
			k := strings.LastIndex(g, "/")
			g, v = g[:k], g[k+1:]
			e.APIGroup, e.APIVersion = g, v
		}
	default:
		return nil, fmt.Errorf("unknown version")
	}
	if e.Time != 0 && e.Received != 0 {
		e.LatencyUS = int64(e.Time) - int64(e.Received)
	}
	e.Final = e.Stage == "ResponseComplete" || e.Stage == "Panic" || (e.Stage == "ResponseStarted" && e.User == "")
	return e, nil
}

// object keeps what a map would lose: the order, and keys that are there twice.
type object []member

type member struct {
	key   string
	value any
}

// parse is for valid JSON.
func parse(line []byte) any {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	v, err := value(d)
	if err != nil {
		panic(err) // json.Valid said otherwise
	}
	if _, err := d.Token(); err != io.EOF {
		panic("more than one value")
	}
	return v
}

func value(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		o := object{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := value(d)
			if err != nil {
				return nil, err
			}
			o = append(o, member{k.(string), v})
		}
		_, err = d.Token()
		return o, err
	case json.Delim('['):
		a := []any{}
		for d.More() {
			v, err := value(d)
			if err != nil {
				return nil, err
			}
			a = append(a, v)
		}
		_, err = d.Token()
		return a, err
	}
	return t, nil
}

func each(v any, none func(), field func(k string, v any) error) error {
	if v == nil {
		if none != nil {
			none()
		}
		return nil
	}
	o, ok := v.(object)
	if !ok {
		return fmt.Errorf("%v is no object", v)
	}
	for _, m := range o {
		if err := field(m.key, m.value); err != nil {
			return err
		}
	}
	return nil
}

func set(p *string, v any) error {
	switch v := v.(type) {
	case nil:
	case string:
		*p = v
	default:
		return fmt.Errorf("%v is no string", v)
	}
	return nil
}

func setList(p *[]string, v any) error {
	*p = nil
	if v == nil {
		return nil
	}
	a, ok := v.([]any)
	if !ok {
		return fmt.Errorf("%v is no list", v)
	}
	for _, m := range a {
		var s string
		if err := set(&s, m); err != nil {
			return err
		}
		*p = append(*p, s)
	}
	return nil
}

func setFirst(p *string, v any) error {
	var list []string
	if err := setList(&list, v); err != nil {
		return err
	}
	*p = strings.Join(list[:min(1, len(list))], "")
	return nil
}

func setCode(p *int32, v any) error {
	switch v := v.(type) {
	case nil:
	case json.Number:
		return json.Unmarshal([]byte(v), p)
	default:
		return fmt.Errorf("%v is no number", v)
	}
	return nil
}

func setTime(p *audit.Time, v any) error {
	*p = 0
	if v == nil {
		return nil
	}
	var s string
	if err := set(&s, v); err != nil {
		return err
	}
	var t time.Time
	if err := t.UnmarshalText([]byte(s)); err != nil {
		return err
	}
	if !t.IsZero() {
		*p = audit.TimeOf(t)
	}
	return nil
}
