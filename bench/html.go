package bench

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"io"
	"strings"
)

//go:embed report.html.tmpl
var reportTemplate string

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"words":  func(t Table, i int) bool { return i == 0 || t.words(i) },
	"failed": func(s string) bool { return strings.Contains(s, "FAILED") },
	"noisy":  func(s string) bool { return strings.HasPrefix(s, "noisy") },
}).Parse(reportTemplate))

// pageData is what the template is given.
type pageData struct {
	Report   *Report
	Headline []string
	Tables   []Table
	Legend   []string
	Palette  []string
	Plots    []pagePlot
}

// pagePlot is a plot twice: for wide and for narrow screens.
type pagePlot struct {
	Title, Caption string
	Wide, Narrow   template.HTML
}

// WriteHTML writes one page that needs nothing else, light or dark as the reader likes
// it.
func (r *Report) WriteHTML(w io.Writer) error {
	p := pageData{Report: r, Headline: r.Headline(), Tables: r.Tables(), Legend: r.plotted()}
	for _, c := range palette {
		p.Palette = append(p.Palette, hex(c))
	}
	for _, f := range figures {
		var wide, narrow bytes.Buffer
		err := errors.Join(r.WriteSVG(&wide, f.name, 820, 380), r.WriteSVG(&narrow, f.name, 350, 300))
		if errors.Is(err, ErrNoPlot) {
			continue
		}
		if err != nil {
			return err
		}
		// The pictures are our own; names of suites and streams in them were escaped by
		// the library that drew them.
		p.Plots = append(p.Plots, pagePlot{f.title, f.caption, template.HTML(wide.String()), template.HTML(narrow.String())})
	}
	return reportPage.Execute(w, p)
}
