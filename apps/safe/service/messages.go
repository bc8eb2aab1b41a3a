package service

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/parley-im/parley/apps/safe"
)

// messages lists a Safe's off-chain messages.
func (s *service) messages(r *http.Request) (*reply, error) {
	room, err := s.room(r)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	if err := knownQuery(q, "ordering"); err != nil {
		return nil, err
	}
	all := slices.Clone(room.Messages())
	err = order(q, all, map[string]func(a, b *safe.MessageEntry) int{
		"created":  func(a, b *safe.MessageEntry) int { return a.Proposed.Compare(b.Proposed) },
		"modified": func(a, b *safe.MessageEntry) int { return a.Modified.Compare(b.Modified) },
	})
	if err != nil {
		return nil, err
	}
	p, err := paginate(r, all, func(e *safe.MessageEntry) map[string]any { return showMessage(room, e) })
	if err != nil {
		return nil, err
	}
	return ok(p)
}

// proposeMessage takes a message with an owner's signature, and sends both to
// the owners.
func (s *service) proposeMessage(r *http.Request) (*reply, error) {
	room, err := s.room(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		Message   json.RawMessage `json:"message"`
		Signature string          `json:"signature"`
		Origin    *string         `json:"origin"`
	}
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	m, err := readMessage(body.Message)
	if err != nil {
		return nil, err
	}
	hash := m.Hash(room.Account())
	signatures, err := readSignatures(hash, body.Signature)
	if err != nil {
		return nil, err
	}
	o := safe.ProposeOptions{Claimed: hash, Signatures: signatures}
	if body.Origin != nil {
		o.Origin = *body.Origin
	}
	ctx, cancel := posting(r)
	defer cancel()
	if _, err := room.ProposeMessage(ctx, &m, o); err != nil {
		return nil, err
	}
	return &reply{http.StatusCreated, nil}, nil
}

// readMessage reads a text, which is a string, or typed data, an object.
func readMessage(b json.RawMessage) (m safe.Message, err error) {
	switch {
	case len(b) == 0 || string(b) == "null":
		return m, invalid("message", "This field is required.")
	case b[0] == '"':
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return m, invalid("message", "It is no string.")
		}
		m, err = safe.TextMessage(text)
	case b[0] == '{':
		m, err = safe.ParseTypedMessage(b)
	default:
		return m, invalid("message", "It is a text, or typed data (EIP-712).")
	}
	if err != nil {
		return m, invalid("message", fmt.Sprint(err))
	}
	return m, nil
}

// findMessage returns a message by the hash in a request's path, and its room.
func (s *service) findMessage(r *http.Request) (Room, *safe.MessageEntry, error) {
	hash, err := pathHash(r)
	if err != nil {
		return nil, nil, err
	}
	for _, room := range s.rooms {
		if e, err := room.Message(hash); err == nil {
			return room, e, nil
		}
	}
	return nil, nil, errNotFound
}

func (s *service) message(r *http.Request) (*reply, error) {
	room, e, err := s.findMessage(r)
	if err != nil {
		return nil, err
	}
	return ok(showMessage(room, e))
}

// signMessage takes owners' signatures over a message.
func (s *service) signMessage(r *http.Request) (*reply, error) {
	room, e, err := s.findMessage(r)
	if err != nil {
		return nil, err
	}
	return s.sign(r, room, e.Hash)
}

// showMessage shows an entry. Its preparedSignature has the signatures so far,
// as the real service's does: it is valid once there are as many as the
// threshold.
func showMessage(room Room, e *safe.MessageEntry) map[string]any {
	var confirmed []safe.Confirmation
	shown := []any{}
	for _, c := range e.Confirmations {
		if !c.Counts {
			continue
		}
		confirmed = append(confirmed, c)
		shown = append(shown, map[string]any{
			"created": date(c.Time), "modified": date(c.Time), "owner": c.Signature.Owner.Hex(),
			"signature": packed([]safe.Confirmation{c}), "signatureType": c.Signature.Kind.String(),
		})
	}
	return map[string]any{
		"created": date(e.Proposed), "modified": date(e.Modified), "safe": room.Account().Address.Hex(), "messageHash": e.Hash.Hex(),
		"message": e.Message, "proposedBy": firstOf(e.Proposers), "safeAppId": nil, "confirmations": shown,
		"preparedSignature": packed(confirmed), "origin": e.Origin,
	}
}
