package node

// ShownPeers is shownPeers, for tests: an engine has peers only where packets come in.
var ShownPeers = shownPeers
