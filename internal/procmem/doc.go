// Package procmem reads what another process has in its memory, for tests and demonstrations
// that search it for what must not be there.
//
// A search of a process that runs sees what is there at the moment in which each page is
// read. That it finds nothing proves something only beside a search for what must be there.
package procmem
