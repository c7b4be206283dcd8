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

	"github.com/fxamacker/cbor/v2"
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

// toJSON is a body as JSON. JSON itself is not checked here.
func toJSON(body []byte, f format) ([]byte, error) {
	switch f {
	case formatJSON:
		return body, nil
	case formatYAML:
		return yaml.YAMLToJSON(body)
	case formatCBOR:
		return cborToJSON(body)
	}
	return nil, errors.New("not a format that is recorded")
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
