package transport

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/internal/wire"
)

// The history protocol: envelopes a peer has stored, by their tags, in pages.
//
//	struct {
//	    uint32 offset;          // envelopes to leave out, those of earlier pages
//	    uint16 count;           // 0 to 256
//	    opaque tags[16 * count];
//	} HistoryRequest;
//
//	struct {
//	    uint8 status;           // 0 ok, 2 refused, 3 busy
//	    select (status) {
//	        case 0:
//	            uint8    more;  // 1 if another page follows
//	            uint16   count; // 0 to 100
//	            Envelope envelopes[count];   // LP each, 1 MiB in all
//	    };
//	} HistoryAnswer;
const (
	maxHistoryRequest = 4 + 2 + TagSize*MaxHistoryTags
	maxHistoryAnswer  = 1 + 1 + 2 + 4*MaxHistoryItems + MaxHistoryBytes
	maxEnvelope       = HeaderSize + MaxBody
)

type historyRequest struct {
	offset uint32
	tags   []Tag
}

func (q historyRequest) marshal() []byte {
	b := wire.AppendUint32(nil, q.offset)
	b = wire.AppendUint16(b, uint16(len(q.tags)))
	for _, t := range q.tags {
		b = append(b, t[:]...)
	}
	return b
}

func parseHistoryRequest(b []byte) (historyRequest, error) {
	var q historyRequest
	r := wire.NewReader(b)
	q.offset = r.Uint32()
	count := int(r.Uint16())
	if count > MaxHistoryTags || count*TagSize != r.Len() {
		r.Fail(wire.ErrLength)
	}
	if r.Err() == nil {
		q.tags = make([]Tag, count)
		for i := range q.tags {
			r.Copy(q.tags[i][:])
		}
	}
	if err := r.Done(); err != nil {
		return historyRequest{}, fmt.Errorf("transport: history request: %w", err)
	}
	return q, nil
}

type historyAnswer struct {
	status    uint8
	more      bool
	envelopes []Envelope
}

func (a historyAnswer) marshal() []byte {
	b := wire.AppendUint8(nil, a.status)
	if a.status != statusOK {
		return b
	}
	b = wire.AppendOptional(b, a.more)
	b = wire.AppendUint16(b, uint16(len(a.envelopes)))
	for _, e := range a.envelopes {
		b = wire.AppendLP(b, e.Marshal())
	}
	return b
}

// parseHistoryAnswer returns an answer that keeps nothing of b: one envelope that
// a caller keeps must not hold on to a page of a MiB.
func parseHistoryAnswer(b []byte) (historyAnswer, error) {
	var a historyAnswer
	r := wire.NewReader(b)
	a.status = r.Uint8()
	switch a.status {
	case statusOK:
		a.more = r.Optional()
		count := int(r.Uint16())
		if count > MaxHistoryItems {
			r.Fail(wire.ErrLength)
		}
		total := 0
		for i := 0; i < count && r.Err() == nil; i++ {
			item := r.LP(maxEnvelope)
			if r.Err() != nil {
				break
			}
			if total += len(item); total > MaxHistoryBytes {
				r.Fail(wire.ErrLength)
				break
			}
			e, err := Parse(item)
			if err != nil {
				r.Fail(err)
				break
			}
			a.envelopes = append(a.envelopes, e)
		}
	case statusRefused, statusBusy:
	default:
		r.Fail(wire.ErrValue)
	}
	if err := r.Done(); err != nil {
		return historyAnswer{}, fmt.Errorf("transport: history answer: %w", err)
	}
	return a, nil
}

// answerHistory serves one page.
func (n *Node) answerHistory(ctx context.Context, from peer.ID, request []byte) ([]byte, error) {
	q, err := parseHistoryRequest(request)
	if err != nil {
		return nil, err
	}
	if n.opts.Handlers.History == nil || len(q.tags) == 0 {
		return historyAnswer{}.marshal(), nil
	}
	all, err := n.opts.Handlers.History(ctx, from, q.tags)
	if err != nil {
		n.opts.Logger.Debug("transport: history refused", "peer", from, "err", err)
		return historyAnswer{status: statusRefused}.marshal(), nil
	}
	return historyPage(all, q.offset).marshal(), nil
}

// historyPage is what of all fits an answer, from offset on. What is no envelope
// is left out, and not counted.
func historyPage(all []Envelope, offset uint32) historyAnswer {
	var a historyAnswer
	skip, total := int64(offset), 0
	for _, e := range all {
		if !isSize(len(e.Body)) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		size := HeaderSize + len(e.Body)
		if len(a.envelopes) == MaxHistoryItems || total+size > MaxHistoryBytes {
			a.more = true
			break
		}
		total += size
		a.envelopes = append(a.envelopes, e)
	}
	return a
}

// FetchHistory asks a peer for the envelopes it stored with any of tags, of
// which there are at most MaxHistoryTags, and reads up to MaxHistoryPages pages.
// What it returns beside an error came before that. It returns ErrRequest for
// more tags, ErrRefused, ErrBusy, ErrAnswer (also for an envelope that was not
// asked for), ErrUnreachable, ErrClosed, or the context's error.
func (n *Node) FetchHistory(ctx context.Context, from peer.ID, tags []Tag) ([]Envelope, error) {
	if len(tags) > MaxHistoryTags {
		return nil, fmt.Errorf("%w: %d tags", ErrRequest, len(tags))
	}
	if len(tags) == 0 {
		return nil, nil
	}
	asked := make(map[Tag]bool, len(tags))
	for _, t := range tags {
		asked[t] = true
	}
	var found []Envelope
	for range MaxHistoryPages {
		q := historyRequest{offset: uint32(len(found)), tags: tags}
		b, err := n.request(ctx, from, HistoryProtocol, q.marshal(), maxHistoryAnswer)
		if err != nil {
			return found, err
		}
		a, err := parseHistoryAnswer(b)
		if err != nil {
			return found, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		if err := statusError(a.status); err != nil {
			return found, err
		}
		for _, e := range a.envelopes {
			if !asked[e.Tag] {
				return found, fmt.Errorf("%w: an envelope with another tag", ErrAnswer)
			}
			found = append(found, e)
		}
		if !a.more || len(a.envelopes) == 0 {
			break
		}
	}
	return found, nil
}
