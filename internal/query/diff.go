package query

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	maxFields = 300     // fields of one difference that are shown
	maxValue  = 4 << 10 // bytes of one value; a longer one is cut and says so
)

// diffObjects lists the fields that differ, and how many more there are than
// are listed. Without noise it leaves out what every write changes.
func diffObjects(before, after map[string]any, noise bool) (fields []FieldChange, more int) {
	d := differ{noise: noise}
	d.maps("", before, after)
	return d.fields, d.more
}

type differ struct {
	noise  bool
	fields []FieldChange
	more   int
}

// noisy are fields that the API server keeps for itself.
var noisy = map[string]bool{
	"metadata.managedFields": true, "metadata.resourceVersion": true, "metadata.generation": true, "status.observedGeneration": true,
}

func (d *differ) found(path string, before, after any) {
	if len(d.fields) == maxFields {
		d.more++
		return
	}
	d.fields = append(d.fields, FieldChange{Path: path, Old: encode(before), New: encode(after)})
}

// absent marks a side on which the field is not; JSON's null is another thing.
type absent struct{}

func encode(v any) json.RawMessage {
	if _, ok := v.(absent); ok {
		return nil
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return json.RawMessage("null") // cannot be: v was decoded from JSON
	}
	s := strings.TrimSuffix(b.String(), "\n")
	if len(s) <= maxValue {
		return json.RawMessage(s)
	}
	cut, err := json.Marshal(strings.ToValidUTF8(s[:maxValue/2], "") + fmt.Sprintf(" ... %d bytes", len(s)))
	if err != nil {
		return json.RawMessage("null")
	}
	return cut
}

func (d *differ) values(path string, before, after any) {
	switch a := after.(type) {
	case map[string]any:
		if b, ok := before.(map[string]any); ok {
			d.maps(path, b, a)
			return
		}
	case []any:
		if b, ok := before.([]any); ok {
			d.lists(path, b, a)
			return
		}
	default:
		if _, isMap := before.(map[string]any); isMap {
			break
		}
		if _, isList := before.([]any); isList {
			break
		}
		if before == after { // both are scalars: string, json.Number, bool or nil
			return
		}
	}
	d.found(path, before, after)
}

func (d *differ) maps(path string, before, after map[string]any) {
	keys := slices.Collect(maps.Keys(after))
	for k := range before {
		if _, ok := after[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		at := joinPath(path, k)
		if !d.noise && noisy[at] {
			continue
		}
		b, inBefore := before[k]
		a, inAfter := after[k]
		switch {
		case !inBefore:
			d.found(at, absent{}, a)
		case !inAfter:
			d.found(at, b, absent{})
		default:
			d.values(at, b, a)
		}
	}
}

func (d *differ) lists(path string, before, after []any) {
	if key := listKey(before, after); key != "" {
		d.keyed(path, key, before, after)
		return
	}
	if !allMaps(before) || !allMaps(after) {
		if !equal(before, after) {
			d.found(path, before, after)
		}
		return
	}
	for i := range max(len(before), len(after)) {
		at := path + "[" + strconv.Itoa(i) + "]"
		switch {
		case i >= len(before):
			d.found(at, absent{}, after[i])
		case i >= len(after):
			d.found(at, before[i], absent{})
		default:
			d.values(at, before[i], after[i])
		}
	}
}

// listKeys are the fields that tell the members of Kubernetes' lists apart:
// containers, env and volumes by name, conditions by type, mounts by path.
var listKeys = []string{"name", "type", "mountPath", "containerPort", "port", "ip", "uid", "key", "topologyKey", "devicePath"}

// listKey is the first field that every member of both lists has, each with
// another value; "" if there is none.
func listKey(before, after []any) string {
	if len(before)+len(after) == 0 {
		return ""
	}
	for _, k := range listKeys {
		if distinct(before, k) && distinct(after, k) {
			return k
		}
	}
	return ""
}

func distinct(l []any, key string) bool {
	seen := make(map[string]bool, len(l))
	for _, v := range l {
		id, ok := member(v, key)
		if !ok || seen[id] {
			return false
		}
		seen[id] = true
	}
	return true
}

func member(v any, key string) (string, bool) {
	m, _ := v.(map[string]any)
	switch id := m[key].(type) {
	case string:
		return id, id != ""
	case json.Number:
		return id.String(), true
	}
	return "", false
}

func (d *differ) keyed(path, key string, before, after []any) {
	old := make(map[string]any, len(before))
	for _, v := range before {
		id, _ := member(v, key)
		old[id] = v
	}
	for _, v := range after {
		id, _ := member(v, key)
		at := path + "[" + key + "=" + pathWord(id) + "]"
		if b, ok := old[id]; ok {
			delete(old, id)
			d.values(at, b, v)
		} else {
			d.found(at, absent{}, v)
		}
	}
	for _, v := range before {
		id, _ := member(v, key)
		if _, ok := old[id]; ok {
			d.found(path+"["+key+"="+pathWord(id)+"]", v, absent{})
		}
	}
}

func allMaps(l []any) bool {
	return !slices.ContainsFunc(l, func(v any) bool { _, ok := v.(map[string]any); return !ok })
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, equal)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

// joinPath is path.key, or path["key"] where the key is no plain word.
func joinPath(path, key string) string {
	word := pathWord(key)
	switch {
	case strings.HasPrefix(word, `"`) || strings.ContainsAny(word, "./:"):
		if !strings.HasPrefix(word, `"`) {
			word = strconv.Quote(word)
		}
		return path + "[" + word + "]"
	case path == "":
		return word
	}
	return path + "." + word
}

// pathWord is s, in quotes unless it is plain.
func pathWord(s string) string {
	plain := s != "" && len(s) <= 300
	for i := 0; i < len(s) && plain; i++ {
		plain = isWordByte(s[i]) || strings.IndexByte("-./:", s[i]) >= 0
	}
	if plain {
		return s
	}
	return strconv.Quote(shorten(s, 300))
}
