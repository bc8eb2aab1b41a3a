package main

import (
	"context"
	"errors"
	"fmt"
)

type hoard struct{}

func keepCopy(ctx context.Context, w *world, p *person) (*hoard, error) { return &hoard{}, nil }

func (s *story) removedCannotRead(ctx context.Context) (string, error) {
	return "", errors.New("not written yet")
}
func (s *story) checkCarol(ctx context.Context) error { return nil }
func (s *story) eavesdropper(ctx context.Context) (string, error) {
	return "", errors.New("not written yet")
}
func (w *world) stayUp(ctx context.Context, out *printer) {}

type weight struct{ Envelopes int }

func (w weight) String() string { return fmt.Sprint(w.Envelopes) }
func weigh(c []capture) weight  { return weight{len(c)} }
