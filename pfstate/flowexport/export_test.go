package flowexport

import "net"

// OpenOn is Open for a connection that is there, for IPFIX.
func OpenOn(conn net.Conn, c Config) *Exporter {
	return newExporter(conn, c, message{protocol: ipfix(), domain: c.Domain})
}
