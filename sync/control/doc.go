// Package control is the control socket: how ifconfig and its like reach the pfsyncd
// of their network namespace. It is the abstract unix socket @pfsyncd, which belongs
// to the namespace as an ioctl would; HTTP and JSON are spoken on it:
//
//	GET  /v1/interfaces   []ifconfig.Interface
//	POST /v1/change       ifconfig.Change, root only
//	POST /v1/bulk         no body, root only: ask the peers for their whole tables
//	GET  /v1/counters     []Counter
//	GET  /v1/peers        []ifconfig.Peer
//	GET  /v1/status       Status
//	GET  /metrics         for Prometheus, if the Server was given them
//	GET  /v1/sysctl       []sysctl.Setting
//	POST /v1/sysctl       sysctl.Setting, root only; answers Old
//
// Errors come with a status of 400 and more and {"error": "..."}, and "word" when one of ifconfig's words is to blame.
package control
