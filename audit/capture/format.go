package capture

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	yamltree "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// format is how a body is written.
type format uint8

const (
	formatOther format = iota
	formatJSON
	formatYAML
	formatCBOR
	formatProtobuf
)

// formatOf is the format of a media type; none is JSON, as the API server takes it.
func formatOf(contentType string) format {
	switch contentType {
	case "", "application/json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json":
		return formatJSON
	case "application/vnd.kubernetes.protobuf":
		return formatProtobuf
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	switch media {
	case "application/json":
		return formatJSON
	case "application/yaml", "application/apply-patch+yaml":
		return formatYAML
	case "application/cbor", "application/apply-patch+cbor":
		return formatCBOR
	case "application/vnd.kubernetes.protobuf":
		return formatProtobuf
	}
	if strings.HasSuffix(media, "+json") {
		return formatJSON
	}
	return formatOther
}

// toJSON is a body as JSON. JSON itself is not checked here, but made UTF-8 as the API server
// reads it, so that no line has other bytes.
//
// A MiB of YAML takes 130 MiB and half a second to read, also that of a client whom the API is about
// to refuse: one is read at a time.
func (h *handler) toJSON(body []byte, f format) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // whatever a body does to a parser: the request is recorded
			out, err = nil, fmt.Errorf("its parser panicked: %v", p)
		}
	}()
	if f == formatYAML && json.Valid(body) {
		f = formatJSON // as kubectl sends its server-side apply
	}
	if f != formatJSON {
		h.reads.Lock()
		defer h.reads.Unlock()
	}
	switch f {
	case formatJSON:
		if !utf8.Valid(body) {
			body = []byte(string([]rune(string(body))))
		}
		return body, nil
	case formatYAML:
		return yamlToJSON(body, h.MaxBody)
	case formatCBOR:
		return cborToJSON(body)
	}
	return nil, errors.New("not a format that is recorded")
}

// yamlToJSON refuses a body that its aliases make larger than most bytes. The parser bounds how many
// there are, not how much text each stands for.
func yamlToJSON(body []byte, most int) ([]byte, error) {
	if bytes.IndexByte(body, '*') >= 0 && bytes.IndexByte(body, '&') >= 0 {
		var doc yamltree.Node
		if err := yamltree.Unmarshal(body, &doc); err != nil {
			return nil, err
		}
		if (expansion{}).size(&doc) > most {
			return nil, fmt.Errorf("over %d bytes with its aliases written out", most)
		}
	}
	return yaml.YAMLToJSON(body)
}

// expansion is how many bytes the nodes that aliases stand for are, at least, when all
// aliases are written out.
type expansion map[*yamltree.Node]int

func (e expansion) size(n *yamltree.Node) int {
	const tooLarge = 1 << 40 // sums of it do not overflow: a body has at most 2^23 nodes or so
	if n.Kind == yamltree.AliasNode {
		known, ok := e[n.Alias]
		if !ok {
			e[n.Alias] = tooLarge // while it is not known: it contains itself
			known = e.size(n.Alias)
			e[n.Alias] = known
		}
		return known
	}
	total := len(n.Value) + 1
	for _, c := range n.Content {
		total += e.size(c)
	}
	return min(total, tooLarge)
}

// cborMode reads CBOR as the API server does (k8s.io/apimachinery/pkg/runtime/serializer/cbor):
// byte strings are strings, base64 where a tag asks for it; the tag 55799 in front means nothing.
var cborMode = sync.OnceValues(func() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey:             cbor.DupMapKeyEnforcedAPF,
		IntDec:                cbor.IntDecConvertSignedOrFail,
		MapKeyByteString:      cbor.MapKeyByteStringForbidden,
		DefaultMapType:        reflect.TypeFor[map[string]any](),
		DefaultByteStringType: reflect.TypeFor[string](),
		ByteStringToString:    cbor.ByteStringToStringAllowedWithExpectedLaterEncoding,
		UnrecognizedTagToAny:  cbor.UnrecognizedTagContentToAny,
		TimeTagToAny:          cbor.TimeTagToRFC3339Nano,
		NaN:                   cbor.NaNDecodeForbidden,
		Inf:                   cbor.InfDecodeForbidden,
		BignumTag:             cbor.BignumTagForbidden,
		MaxNestedLevels:       10000,
		MaxArrayElements:      2147483647,
		MaxMapPairs:           2097152,
	}.DecMode()
})

func cborToJSON(body []byte) ([]byte, error) {
	mode, err := cborMode()
	if err != nil {
		return nil, fmt.Errorf("read CBOR: %w", err)
	}
	var v any
	if err := mode.Unmarshal(body, &v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

var errTooLarge = errors.New("too large when decompressed")

// decompress is a body without its Content-Encoding, of at most most bytes.
func decompress(body []byte, encoding string, most int) ([]byte, error) {
	var in io.Reader
	var err error
	switch strings.ToLower(encoding) {
	case "", "identity":
		return body, nil
	case "gzip", "x-gzip":
		in, err = gzip.NewReader(bytes.NewReader(body))
	case "deflate": // zlib by the standard, bare by some
		if in, err = zlib.NewReader(bytes.NewReader(body)); err != nil {
			in, err = flate.NewReader(bytes.NewReader(body)), nil
		}
	default:
		return nil, fmt.Errorf("encoded in %s", notePart(encoding))
	}
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(in, int64(most)+1))
	if err != nil {
		return nil, err
	}
	if len(out) > most {
		return nil, errTooLarge
	}
	return out, nil
}
