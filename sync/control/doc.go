// Package control is the control socket: how ifconfig and its like reach the pfsyncd
// of their network namespace. It is the abstract unix socket @pfsyncd, which belongs
// to the namespace as an ioctl would; HTTP and JSON are spoken on it:
//
//	GET  /v1/interfaces   []ifconfig.Interface
//	POST /v1/change       ifconfig.Change, root only
//	POST /v1/bulk         no body, root only: ask the peers for their whole tables
//	POST /v1/push         no body, root only: tell the peers this whole table
//	POST /v1/yield        no body, root only: another firewall carries the traffic now
//	GET  /v1/counters     []Counter
//	GET  /v1/peers        []ifconfig.Peer
//	GET  /v1/status       Status
//	GET  /metrics         for Prometheus, if the Server was given them
//	GET  /v1/sysctl       []sysctl.Setting
//	POST /v1/sysctl       sysctl.Setting, root only; answers Old
//	GET  /v1/states       all states, or with ?interface=NAME and ?host=NETWORK some of them
//	POST /v1/kill         Kill, root only: Killed
//	POST /v1/flush        no body, root only: Killed
//	GET  /v1/rules        Rules
//	POST /v1/ruleset      pfconf.Ruleset, root only
//	POST /v1/enable       {"enabled": BOOL}, root only
//	GET  /v1/info         Info
//	GET  /v1/demotion     []ifconfig.Demotion
//	POST /v1/demotion     ifconfig.Demote, root only
//	GET  /v1/transitions  Transitions behind ?after=NUMBER
//	GET  /debug/...       Go's profiles, root only, if the Server was given them
//
// States are no JSON but one record of 264 bytes after the other, each as OpenBSD's pfsync sends a
// state (wire.ParseState). They are sent as fast as they are read, and never held as a whole; an
// answer that ends early was cut off.
//
// Errors come with a status of 400 and more and {"error": "..."}, and "word" when one of ifconfig's words is to blame.
package control
