package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Stream protocols. On each stream goes one request and one answer; a frame is
// a 4-byte big-endian length and as many bytes.
const (
	RecordProtocol  protocol.ID = "/parley/record/1"
	HistoryProtocol protocol.ID = "/parley/history/1"
)

// Errors of requests to a peer.
var (
	// ErrNotFound is returned when the peer does not have the record.
	ErrNotFound = errors.New("transport: peer has no such record")
	// ErrRefused is returned when the peer does not want the record.
	ErrRefused = errors.New("transport: peer refuses")
	// ErrBusy is returned when the peer serves too many requests, ours or all.
	ErrBusy = errors.New("transport: peer is busy")
	// ErrAnswer is returned for an answer that is malformed, too long, or not to
	// the question.
	ErrAnswer = errors.New("transport: malformed answer")
	// ErrRequest is returned for a request that exceeds its limits, and is not
	// sent.
	ErrRequest = errors.New("transport: request exceeds its limits")
)

// errFrame is for a frame that is longer than its limit.
var errFrame = errors.New("transport: frame is too long")

// Status of an answer.
const (
	statusOK       = 0
	statusNotFound = 1
	statusRefused  = 2
	statusBusy     = 3
)

// statusError is what a client returns for a status.
func statusError(status uint8) error {
	switch status {
	case statusOK:
		return nil
	case statusNotFound:
		return ErrNotFound
	case statusRefused:
		return ErrRefused
	case statusBusy:
		return ErrBusy
	}
	return fmt.Errorf("%w: status %d", ErrAnswer, status)
}

// answerFunc decodes a request and returns the answer's frame. An error, which
// means that the request is malformed, resets the stream.
type answerFunc func(ctx context.Context, from peer.ID, request []byte) ([]byte, error)

// startStreams sets the handlers of both protocols. libp2p runs each stream on a
// goroutine of its own; the node counts it.
func (n *Node) startStreams() {
	n.host.SetStreamHandler(RecordProtocol, func(s network.Stream) {
		n.serve(s, maxRecordRequest, n.answerRecord)
	})
	n.host.SetStreamHandler(HistoryProtocol, func(s network.Stream) {
		n.serve(s, maxHistoryRequest, n.answerHistory)
	})
}

// serve reads one request of at most limit bytes and writes its answer, all
// within the deadline. It leaves the stream closed or reset.
func (n *Node) serve(s network.Stream, limit int, answer answerFunc) {
	if !n.enter() {
		s.Reset()
		return
	}
	defer n.wg.Done()
	deadline := time.Now().Add(n.opts.StreamTimeout)
	if err := s.SetDeadline(deadline); err != nil {
		s.Reset()
		return
	}
	from := s.Conn().RemotePeer()
	if !n.slots.acquire(from) {
		n.refuse(s)
		return
	}
	defer n.slots.release(from)
	if !n.streamRate.take(from, 1, time.Now()) {
		n.refuse(s)
		return
	}
	ctx, cancel := context.WithDeadline(n.done, deadline)
	defer cancel()
	request, err := readFrame(s, limit)
	if err == nil {
		s.CloseRead()
		var frame []byte
		if frame, err = answer(ctx, from, request); err == nil {
			err = writeFrame(s, frame)
		}
	}
	if err != nil {
		n.counters.requestsBad.Add(1)
		n.opts.Logger.Debug("transport: bad request", "peer", from, "protocol", s.Protocol(), "err", err)
		s.ResetWithError(network.StreamProtocolViolation)
		return
	}
	n.counters.requests.Add(1)
	s.Close()
}

// refuse answers busy without reading the request.
func (n *Node) refuse(s network.Stream) {
	n.counters.requestsRefused.Add(1)
	s.CloseRead()
	if writeFrame(s, []byte{statusBusy}) != nil {
		s.ResetWithError(network.StreamRateLimited)
		return
	}
	s.Close()
}

// request sends one request to a peer and returns the answer's frame of at most
// limit bytes. It connects if it must.
func (n *Node) request(ctx context.Context, to peer.ID, proto protocol.ID, request []byte, limit int) ([]byte, error) {
	if !n.enter() {
		return nil, ErrClosed
	}
	defer n.wg.Done()
	ctx, cancel := context.WithTimeout(ctx, n.opts.StreamTimeout)
	defer cancel()
	defer context.AfterFunc(n.done, cancel)()
	s, err := n.host.NewStream(ctx, to, proto)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, to, err)
	}
	defer s.Reset() // does nothing to a stream that both sides have closed
	defer context.AfterFunc(ctx, func() { s.Reset() })()
	// A peer that is busy answers without reading: an error here may hide a
	// good answer.
	writeErr := writeFrame(s, request)
	if writeErr == nil {
		writeErr = s.CloseWrite()
	}
	answer, err := readFrame(s, limit)
	switch {
	case err == nil:
		s.Close()
		return answer, nil
	case n.done.Err() != nil:
		return nil, ErrClosed
	case ctx.Err() != nil:
		return nil, fmt.Errorf("transport: %s: %w", proto, ctx.Err())
	case errors.Is(err, errFrame):
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, to, errors.Join(writeErr, err))
}

// writeFrame writes the length and the bytes at once.
func writeFrame(w io.Writer, b []byte) error {
	frame := make([]byte, 4, 4+len(b))
	binary.BigEndian.PutUint32(frame, uint32(len(b)))
	_, err := w.Write(append(frame, b...))
	return err
}

// readFrame reads a frame of at most limit bytes. It looks at the length before
// it allocates.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if uint64(size) > uint64(limit) {
		return nil, fmt.Errorf("%w: %d bytes", errFrame, size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return b, nil
}
