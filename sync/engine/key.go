package engine

// SetKey makes key the one that packets are sealed and opened with; nil: none. The key
// before is accepted until every peer has shown the new one. The same key again changes
// nothing. key is not kept.
func (e *Engine) SetKey(key []byte) error {
	return e.do(func() {}) // takes none yet
}

// KeyChanging tells whether the key before the current one is still accepted.
func (e *Engine) KeyChanging() (changing bool, err error) {
	err = e.do(func() {})
	return changing, err
}
