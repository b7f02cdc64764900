package lmitest

import (
	"encoding/json"
	"fmt"
	"net/http"
)

const (
	headerExtensionName = "Lambda-Extension-Name"
	headerExtensionID   = "Lambda-Extension-Identifier"
)

// register registers an internal extension, which must not ask for events. The platform sends SIGTERM only if there is an extension;
// lambda.WithEnableSIGTERM registers an extension just for that.
func (e *environment) register(w http.ResponseWriter, r *http.Request) {
	name := r.Header.Get(headerExtensionName)
	var body struct{ Events []string }
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&body)
	switch {
	case name == "":
		forbid(w, "Extension.InvalidExtensionName", "Empty extension name")
		return
	case err != nil:
		forbid(w, "InvalidRequestFormat", "%v", err)
		return
	case len(body.Events) > 0:
		forbid(w, "Extension.InvalidEventType", "No events allowed for internal extensions")
		return
	}

	id := uuid()
	e.f.mu.Lock()
	open := e.state == starting
	if open {
		e.extensions[id] = true
	}
	e.f.mu.Unlock()
	if !open {
		forbid(w, "Extension.RegistrationClosed", "Extension registration closed already")
		return
	}
	c := &e.f.config
	w.Header().Set(headerExtensionID, id)
	writeJSON(w, http.StatusOK, map[string]string{
		"functionName": c.FunctionName, "functionVersion": c.FunctionVersion, "handler": "bootstrap",
	})
}

// nextEvent blocks until the environment has ended, since an internal extension has no events.
func (e *environment) nextEvent(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(headerExtensionID)
	e.f.mu.Lock()
	known := e.extensions[id]
	e.f.mu.Unlock()
	if !known {
		forbid(w, "Extension.UnknownExtensionIdentifier", "Unknown extension %s", id)
		return
	}
	select {
	case <-r.Context().Done():
	case <-e.over:
	}
}

func forbid(w http.ResponseWriter, errorType, format string, args ...any) {
	writeJSON(w, http.StatusForbidden, errorBody{Type: errorType, Message: fmt.Sprintf(format, args...)})
}
