package service

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/parley-im/parley/apps/safe"
)

// apiError is an answer that is an error.
type apiError struct {
	status int
	body   any
}

func (e *apiError) Error() string {
	b, _ := json.Marshal(e.body)
	return string(b)
}

func detail(s string) any { return map[string]string{"detail": s} }

var errNotFound = &apiError{http.StatusNotFound, detail("Not found.")}

func badRequest(s string) error { return &apiError{http.StatusBadRequest, detail(s)} }

// invalid is the answer to a body with a field that is wrong.
func invalid(field, s string) error {
	return &apiError{http.StatusUnprocessableEntity, map[string][]string{field: {s}, nonField: {field + ": " + s}}}
}

// nonField is where clients look for what is wrong.
const nonField = "nonFieldErrors"

func unprocessable(s string) error {
	return &apiError{http.StatusUnprocessableEntity, map[string][]string{nonField: {s}}}
}

// answerOf makes an answer of an error: what the client or the owners can mend
// is told, and the rest is not.
func answerOf(err error) *apiError {
	var answer *apiError
	switch {
	case errors.As(err, &answer):
		return answer
	case errors.Is(err, safe.ErrUnknownTransaction):
		return errNotFound
	case errors.As(err, new(*safe.LieError)), errors.Is(err, safe.ErrSignature), errors.Is(err, safe.ErrSignatures),
		errors.Is(err, safe.ErrNotOwner), errors.Is(err, safe.ErrItem), errors.Is(err, safe.ErrMessage):
		errors.As(unprocessable(err.Error()), &answer)
		return answer
	case errors.As(err, new(*safe.StrangersError)), errors.Is(err, safe.ErrNoRoom):
		return &apiError{http.StatusConflict, detail(err.Error())}
	case errors.Is(err, safe.ErrChain):
		return &apiError{http.StatusServiceUnavailable, detail("The chain cannot be read.")}
	}
	return nil
}

func (s *service) fail(w http.ResponseWriter, r *http.Request, err error) {
	answer := answerOf(err)
	if answer == nil || answer.status == http.StatusServiceUnavailable {
		s.o.Logger.Error("a request has failed", "method", r.Method, "error", err)
	}
	if answer == nil {
		answer = &apiError{http.StatusInternalServerError, detail("It did not work; the log says why.")}
	}
	write(w, &reply{answer.status, answer.body})
}

// rawJSON is a body that is written as it is.
type rawJSON []byte

func write(w http.ResponseWriter, r *reply) {
	if r.body == nil {
		w.WriteHeader(r.status)
		return
	}
	b, raw := r.body.(rawJSON)
	if !raw {
		var err error
		if b, err = json.Marshal(r.body); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.status)
	w.Write(b)
}

// Values as the service writes them.

func date(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

func hexes(all []common.Address) []string {
	out := make([]string, len(all))
	for i, a := range all {
		out[i] = a.Hex()
	}
	return out
}

// firstOf is the first proposer, or null.
func firstOf(all []common.Address) any {
	if len(all) == 0 {
		return nil
	}
	return all[0].Hex()
}
