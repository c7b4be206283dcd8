package capture

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/ktrail/ktrail/audit/internal/status"
)

// statusOfJSON reads a Status; false if b is anything else.
func statusOfJSON(b []byte) (s status.Status, ok bool) {
	if kindOf(b) != "Status" || json.Unmarshal(b, &s) != nil {
		return s, false
	}
	return s, s.Kind == "Status" && s.APIVersion == "v1"
}

// How the answers begin that are a Status, as API servers write them.
var (
	statusJSON     = []byte(`{"kind":"Status"`)
	statusPretty   = []byte("{\n  \"kind\": \"Status\"") // for curl, browsers, and who asks for it
	statusProtobuf = []byte("k8s\x00\n\x0c\n\x02v1\x12\x06Status")
	statusCBOR     = []byte("\x44kind\x46Status")
	statusYAML     = []byte("\nkind: Status\n")
)

// mayBeStatus is whether an answer that begins with b may be a Status although it tells of no failure.
func mayBeStatus(b []byte, f format) bool {
	switch f {
	case formatJSON:
		return bytes.HasPrefix(b, statusJSON) || bytes.HasPrefix(b, statusPretty)
	case formatProtobuf:
		return bytes.HasPrefix(b, statusProtobuf)
	case formatYAML: // in the order of the names
		return len(b) < 4096 && bytes.Contains(b, statusYAML)
	case formatCBOR: // in no order
		return len(b) < 4096 && bytes.Contains(b, statusCBOR)
	}
	return false
}

// answerStatus writes s as the answer to a request that goes no further.
func answerStatus(w http.ResponseWriter, r *http.Request, s *status.Status) {
	header := w.Header()
	header.Set("Cache-Control", "no-cache, private")
	header.Set("Content-Type", "application/json")
	if s.Code == http.StatusUnauthorized && r.ProtoMajor == 2 {
		header.Set("Connection", "close") // whoever is not known may not keep a connection of HTTP/2 open
	}
	w.WriteHeader(int(s.Code))
	_, _ = w.Write(append(s.JSON(), '\n')) // the client may be gone
}
