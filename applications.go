package parley

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/parley-im/parley/internal/store"
)

// Limits of what applications keep with the profile.
const (
	// MaxAppData bounds one value, in bytes.
	MaxAppData = 64 << 10
	// maxAppKey bounds its key, in bytes.
	maxAppKey = 256
	// maxAppKeys is how many values one application keeps.
	maxAppKeys = 1024
)

// ApplicationMessages returns messages of applications' types that begin with
// prefix, such as "im.parley.safe/", in a conversation as [Client.Messages] names
// it: those after a cursor, oldest first, at most limit. Each has its Cursor, to
// go on from.
func (c *Client) ApplicationMessages(ctx context.Context, conversation, prefix string, after Cursor, limit int) ([]Message, error) {
	conv, err := c.conversation(ctx, conversation)
	if err != nil {
		return nil, err
	}
	all := []Message{}
	err = c.view(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT m.row, e.seq FROM messages m JOIN events e ON e.message = m.row AND e.kind = 'message'
			WHERE m.conv = ?1 AND (m.app IS NULL OR m.app <> '' AND substr(m.app, 1, length(?2)) = ?2) AND e.seq > ?3 ORDER BY m.row`,
			conv, prefix, uint64(after))
		if err != nil {
			return err
		}
		defer rows.Close()
		for len(all) < limit && rows.Next() {
			var row int64
			var seq uint64
			if err := rows.Scan(&row, &seq); err != nil {
				return err
			}
			m, err := c.messageRow(tx, `row = ?`, row)
			if err != nil {
				return err
			}
			if m.Content.Kind != KindApplication || !strings.HasPrefix(m.Content.Type, prefix) {
				continue // of a schema that did not know
			}
			m.Cursor = Cursor(seq)
			all = append(all, m)
		}
		return rows.Err()
	})
	return all, err
}

// AppData returns what an application keeps under a key in the profile's
// encrypted database: nil if it keeps nothing there.
func (c *Client) AppData(ctx context.Context, app, key string) (value []byte, err error) {
	err = c.view(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT value FROM app_data WHERE app = ? AND key = ?`, app, key).Scan(&value)
	})
	if errors.Is(err, store.ErrNoRows) {
		err = nil
	}
	return value, err
}

// AppDataKeys returns the keys under which an application keeps something, in
// order.
func (c *Client) AppDataKeys(ctx context.Context, app string) ([]string, error) {
	keys := []string{}
	err := c.view(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT key FROM app_data WHERE app = ? ORDER BY key`, app)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key string
			if err := rows.Scan(&key); err != nil {
				return err
			}
			keys = append(keys, key)
		}
		return rows.Err()
	})
	return keys, err
}

// SetAppData has the profile's encrypted database keep a value of at most
// [MaxAppData] bytes for an application, in place of what it kept under the key
// before; an empty value is none. App is the application's name, such as
// "im.parley.safe", of at most [MaxTypeName] bytes; key has at most 256. It
// returns [ErrAppData] for what is not, or a key too many.
func (c *Client) SetAppData(ctx context.Context, app, key string, value []byte) error {
	switch {
	case app == "" || len(app) > MaxTypeName || !utf8.ValidString(app):
		return fmt.Errorf("%w: application names have 1 to %d bytes of UTF-8", ErrAppData, MaxTypeName)
	case key == "" || len(key) > maxAppKey || !utf8.ValidString(key):
		return fmt.Errorf("%w: keys have 1 to %d bytes of UTF-8", ErrAppData, maxAppKey)
	case len(value) > MaxAppData:
		return fmt.Errorf("%w: values have at most %d bytes", ErrAppData, MaxAppData)
	}
	return c.step(ctx, func(s *step) error {
		if len(value) == 0 {
			_, err := s.Exec(`DELETE FROM app_data WHERE app = ? AND key = ?`, app, key)
			return err
		}
		var others int
		if err := s.QueryRow(`SELECT COUNT(*) FROM app_data WHERE app = ? AND key <> ?`, app, key).Scan(&others); err != nil {
			return err
		}
		if others >= maxAppKeys {
			return fmt.Errorf("%w: %q keeps %d values already", ErrAppData, app, others)
		}
		_, err := s.Exec(`INSERT OR REPLACE INTO app_data (app, key, value) VALUES (?, ?, ?)`, app, key, value)
		return err
	})
}
