package capture

import (
	"encoding/json"
	"net/http"
)

// writeStatus answers as an API server does when it fails: with a meta/v1 Status.
func writeStatus(w http.ResponseWriter, code int, reason, message string) {
	body, err := json.Marshal(struct {
		Kind       string   `json:"kind"`
		APIVersion string   `json:"apiVersion"`
		Metadata   struct{} `json:"metadata"`
		Status     string   `json:"status"`
		Message    string   `json:"message"`
		Reason     string   `json:"reason,omitempty"`
		Code       int      `json:"code"`
	}{Kind: "Status", APIVersion: "v1", Status: "Failure", Message: message, Reason: reason, Code: code})
	if err != nil { // strings and a number: it cannot be
		http.Error(w, message, code)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache, private")
	h.Del("Content-Length")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // a client that is gone needs no answer
}
