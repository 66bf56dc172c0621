package pfstate

// Counter is one counter of any part of the daemon, as operators see it.
type Counter struct {
	Name  string `json:"name"` // stable, lower case
	Help  string `json:"help"` // in netstat's way: what stands behind the number
	Value uint64 `json:"value"`
}
