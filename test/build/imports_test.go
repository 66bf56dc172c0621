package build_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/pfsync-linux/pfsync"

// layers is the order of the tree, lowest first: a package imports only from lower
// layers, or from its own family (sync/link, sync/link/linktest). "x/..." stands for
// what lies below x. The first match from the top of a layer wins.
var layers = [][]string{
	{"pfstate"},
	{"pfstate/...", "sync/wire", "sync/wire/...", "sync/auth", "sync/ipsec", "sync/link", "sync/link/...", "sync/hold", "sync/carp", "sync/carp/...", "tunif", "tunif/...", "ifconfig", "ifconfig/..."},
	{"sync/engine", "sync/engine/...", "sync/control", "sync/control/...", "sync/metrics"},
	{"sync/node", "sync/node/..."},
	{"cmd/..."},
	{"test/...", "man", "man/..."},
}

// sideways are imports within a layer that are meant.
var sideways = map[string][]string{
	"sync/auth":    {"sync/wire"}, // its codes are an attribute of the trailer
	"sync/hold":    {"pfstate/conntrack/nfattr"},
	"sync/link":    {"sync/ipsec"},
	"sync/metrics": {"sync/control"},                   // they are the control socket's answers in another form
	"tunif":        {"sync/link/ifwatch"},              // both watch an interface come and go
	"tunif/carpif": {"sync/link/ifwatch", "sync/carp"}, // and it is what carp.System describes
}

// kernel are the packages that may import golang.org/x/sys/unix, with what lies below them.
var kernel = []string{"tunif", "sync/link", "sync/ipsec", "sync/hold", "pfstate/conntrack", "test/lab"}

// source is one package: its files, with and without tests.
type source struct {
	doc     bool
	imports map[string]bool // of the files that are no tests
	all     map[string]bool // of tests too
}

// packages reads the imports and comments of every package of the module.
func packages(t *testing.T) map[string]*source {
	t.Helper()
	root := filepath.Join("..", "..")
	found := map[string]*source{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && file != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		p := found[dir]
		if p == nil {
			p = &source{imports: map[string]bool{}, all: map[string]bool{}}
			found[dir] = p
		}
		return p.add(syntax, strings.HasSuffix(name, "_test.go"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 5 {
		t.Fatalf("only %d packages found: the walk is wrong", len(found))
	}
	return found
}

func (p *source) add(f *ast.File, test bool) error {
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		p.all[imported] = true
		if !test {
			p.imports[imported] = true
		}
	}
	// A folder of tests alone is described by one of them.
	p.doc = p.doc || f.Doc != nil && (!test || strings.HasSuffix(f.Name.Name, "_test"))
	return nil
}

// layer returns the number of the layer that a package belongs to, or -1.
func layer(dir string) int {
	for i, l := range layers {
		if slices.Contains(l, dir) {
			return i
		}
	}
	for i, l := range layers {
		for _, pattern := range l {
			if above, ok := strings.CutSuffix(pattern, "/..."); ok && strings.HasPrefix(dir, above+"/") {
				return i
			}
		}
	}
	return -1
}

// family tells whether one of the two lies below the other, or both below one
// package of two elements, like sync/wire.
func family(a, b string) bool {
	trunk := func(dir string) string {
		parts := strings.SplitN(dir, "/", 3)
		if parts[0] == "sync" || parts[0] == "pfstate" {
			return path.Join(parts[:min(2, len(parts))]...)
		}
		return parts[0]
	}
	return trunk(a) == trunk(b)
}

// allowed returns why a package may not import another of ours, or "".
func allowed(from, to string) string {
	a, b := layer(from), layer(to)
	switch {
	case a < 0:
		return "has no place in the layers of test/build; give it one"
	case b < 0:
		return "imports " + to + ", which has no place in the layers of test/build"
	case to == "sync":
		return "imports sync, which is a comment only"
	case to == "test/lab" && strings.HasSuffix(from, "test"):
		return "" // fakes and suites for tests, which may need a namespace
	case b < a || a == b && family(from, to) || slices.Contains(sideways[from], to):
		return ""
	default:
		return "must not import " + to
	}
}

func TestImportsPointOneWay(t *testing.T) {
	found := packages(t)
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		if dir == "sync" {
			continue
		}
		if layer(dir) < 0 {
			t.Errorf("%s has no place in the layers of test/build; give it one", dir)
			continue
		}
		for imported := range found[dir].imports {
			to, ours := strings.CutPrefix(imported, module+"/")
			if !ours {
				continue
			}
			if why := allowed(dir, to); why != "" {
				t.Errorf("%s %s", dir, why)
			}
		}
	}
}

func TestLayersForbid(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"cmd/pfsyncd", "sync/node", true},
		{"sync/node", "cmd/pfsyncd", false},
		{"sync/engine", "sync/wire", true},
		{"sync/wire", "sync/engine", false},
		{"sync/wire", "pfstate", true},
		{"pfstate", "pfstate/memory", false},
		{"sync/wire", "sync/link", false},
		{"sync/link", "pfstate/conntrack", false},
		{"sync/hold", "pfstate/conntrack/nfattr", true},
		{"sync/link/linktest", "sync/link", true},
		{"sync/engine", "sync/control", false},
		{"sync/engine", "test/lab", false},
		{"sync/control/controltest", "test/lab", true},
		{"pfstate/tabletest", "pfstate/memory", false},
		{"utils", "pfstate", false},
	} {
		if got := allowed(c.from, c.to) == ""; got != c.want {
			t.Errorf("%s imports %s: allowed %t, want %t", c.from, c.to, got, c.want)
		}
	}
}

func TestOnlyKernelPackagesImportUnix(t *testing.T) {
	for dir, p := range packages(t) {
		ok := slices.ContainsFunc(kernel, func(k string) bool { return dir == k || strings.HasPrefix(dir, k+"/") })
		if p.all["golang.org/x/sys/unix"] && !ok {
			t.Errorf("%s imports golang.org/x/sys/unix; only %v may", dir, kernel)
		}
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	for dir, p := range packages(t) {
		if !p.doc {
			t.Errorf("%s has no package comment", dir)
		}
	}
}
