package engine

// Both ways to keep something beside the records take memory in chunks that never move,
// so that growing copies nothing.

const chunkBits = 10

// slab keeps values that some records have, by number.
type slab[T any] struct {
	chunks []*[1 << chunkBits]T
	size   uint32
	free   []uint32
}

func (s *slab[T]) at(n uint32) *T { return &s.chunks[n>>chunkBits][n&(1<<chunkBits-1)] }

// add keeps v and returns its number.
func (s *slab[T]) add(v *T) (n uint32) {
	if free := len(s.free); free > 0 {
		n, s.free = s.free[free-1], s.free[:free-1]
	} else {
		n = s.size
		s.size++
		if int(n>>chunkBits) == len(s.chunks) {
			s.chunks = append(s.chunks, new([1 << chunkBits]T))
		}
	}
	*s.at(n) = *v
	return n
}

func (s *slab[T]) drop(n uint32) { s.free = append(s.free, n) }

// column is a field that records have in some networks only: until one of a chunk of
// records has another value than zero, the chunk costs nothing.
type column[T comparable] struct{ chunks []*[1 << chunkBits]T }

func (c *column[T]) at(i slot) (v T) {
	if n := int(i >> chunkBits); n < len(c.chunks) && c.chunks[n] != nil {
		v = c.chunks[n][i&(1<<chunkBits-1)]
	}
	return v
}

func (c *column[T]) set(i slot, v T) {
	n := int(i >> chunkBits)
	if n >= len(c.chunks) || c.chunks[n] == nil {
		if v == *new(T) {
			return
		}
		for n >= len(c.chunks) {
			c.chunks = append(c.chunks, nil)
		}
		c.chunks[n] = new([1 << chunkBits]T)
	}
	c.chunks[n][i&(1<<chunkBits-1)] = v
}
