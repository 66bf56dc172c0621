package pfstate

// Batch carries items from one goroutine to another. Its consumer calls Free
// once done with it, and keeps nothing of it.
type Batch[T any] struct {
	Items []T
	home  chan<- *Batch[T]
}

// Free gives the batch back to its Batches. The items keep their memory (and the
// buffers they point to) for the next use.
func (b *Batch[T]) Free() {
	b.Items = b.Items[:0]
	select {
	case b.home <- b:
	default: // spares enough
	}
}

// Batches is a producer's stock of batches, so that a busy one allocates none.
type Batches[T any] struct{ spare chan *Batch[T] }

// NewBatches keeps up to n spare batches.
func NewBatches[T any](n int) Batches[T] { return Batches[T]{spare: make(chan *Batch[T], n)} }

// Take returns an empty batch.
func (s Batches[T]) Take() *Batch[T] {
	select {
	case b := <-s.spare:
		return b
	default:
		return &Batch[T]{home: s.spare}
	}
}
