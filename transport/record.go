package transport

import (
	"bytes"
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/parley-im/parley/internal/wire"
)

// The record protocol. Records prove themselves, so it matters to nobody where
// one is found.
//
//	struct {
//	    uint8  op;              // 1 get, 2 put
//	    opaque key[32];
//	    select (op) {
//	        case 2: opaque record<0..65536>;   // LP
//	    };
//	} RecordRequest;
//
//	struct {
//	    uint8 status;           // 0 ok, 1 not found, 2 refused, 3 busy
//	    select (status) {
//	        case 0: opaque record<0..65536>;   // LP; empty after a put
//	    };
//	} RecordAnswer;
const (
	opGet = 1
	opPut = 2

	maxRecordRequest = 1 + 32 + 4 + MaxRecord
	maxRecordAnswer  = 1 + 4 + MaxRecord
)

type recordRequest struct {
	op     uint8
	key    [32]byte
	record []byte // of opPut
}

func (q recordRequest) marshal() []byte {
	b := wire.AppendUint8(nil, q.op)
	b = append(b, q.key[:]...)
	if q.op == opPut {
		b = wire.AppendLP(b, q.record)
	}
	return b
}

// parseRecordRequest returns a request whose record is a view of b.
func parseRecordRequest(b []byte) (recordRequest, error) {
	var q recordRequest
	r := wire.NewReader(b)
	q.op = r.Uint8()
	r.Copy(q.key[:])
	switch q.op {
	case opGet:
	case opPut:
		q.record = r.LP(MaxRecord)
	default:
		r.Fail(wire.ErrValue)
	}
	if err := r.Done(); err != nil {
		return recordRequest{}, fmt.Errorf("transport: record request: %w", err)
	}
	return q, nil
}

type recordAnswer struct {
	status uint8
	record []byte // of statusOK
}

func (a recordAnswer) marshal() []byte {
	b := wire.AppendUint8(nil, a.status)
	if a.status == statusOK {
		b = wire.AppendLP(b, a.record)
	}
	return b
}

// parseRecordAnswer returns an answer whose record is a view of b.
func parseRecordAnswer(b []byte) (recordAnswer, error) {
	var a recordAnswer
	r := wire.NewReader(b)
	a.status = r.Uint8()
	switch a.status {
	case statusOK:
		a.record = r.LP(MaxRecord)
	case statusNotFound, statusRefused, statusBusy:
	default:
		r.Fail(wire.ErrValue)
	}
	if err := r.Done(); err != nil {
		return recordAnswer{}, fmt.Errorf("transport: record answer: %w", err)
	}
	return a, nil
}

// answerRecord serves one request of the record protocol.
func (n *Node) answerRecord(ctx context.Context, from peer.ID, request []byte) ([]byte, error) {
	q, err := parseRecordRequest(request)
	if err != nil {
		return nil, err
	}
	a := recordAnswer{status: statusNotFound}
	switch q.op {
	case opGet:
		if n.opts.Handlers.GetRecord == nil {
			break
		}
		if record, ok := n.opts.Handlers.GetRecord(ctx, from, q.key); ok && len(record) <= MaxRecord {
			a = recordAnswer{status: statusOK, record: record}
		}
	case opPut:
		a.status = statusRefused
		if n.opts.Handlers.PutRecord == nil {
			break
		}
		if err := n.opts.Handlers.PutRecord(ctx, from, q.key, bytes.Clone(q.record)); err == nil {
			a.status = statusOK
		} else {
			n.opts.Logger.Debug("transport: record refused", "peer", from, "err", err)
		}
	}
	return a.marshal(), nil
}

// FetchRecord asks a peer for the record under key. The caller verifies it: the
// peer can answer anything. It returns ErrNotFound, ErrBusy, ErrAnswer,
// ErrUnreachable, ErrClosed, or the context's error.
func (n *Node) FetchRecord(ctx context.Context, from peer.ID, key [32]byte) ([]byte, error) {
	return n.requestRecord(ctx, from, recordRequest{op: opGet, key: key})
}

// StoreRecord asks a peer to store a record of at most MaxRecord bytes under
// key. It returns ErrRequest for a longer one, ErrRefused, and what FetchRecord
// returns.
func (n *Node) StoreRecord(ctx context.Context, at peer.ID, key [32]byte, record []byte) error {
	if len(record) > MaxRecord {
		return fmt.Errorf("%w: a record of %d bytes", ErrRequest, len(record))
	}
	_, err := n.requestRecord(ctx, at, recordRequest{op: opPut, key: key, record: record})
	return err
}

func (n *Node) requestRecord(ctx context.Context, to peer.ID, q recordRequest) ([]byte, error) {
	b, err := n.request(ctx, to, RecordProtocol, q.marshal(), maxRecordAnswer)
	if err != nil {
		return nil, err
	}
	a, err := parseRecordAnswer(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return a.record, statusError(a.status)
}
