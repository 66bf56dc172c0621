# fish completion for the programs of pfsync.

function __pfsync_complete
    set -l words (commandline -opc)
    # The word to complete counts when it is empty, too.
    set -a words "$(commandline -ct)"
    @LIBEXEC@/pfsync-complete $words 2>/dev/null
end

# A word that has no candidates is a file's name.
function __pfsync_files
    test (count (__pfsync_complete)) -eq 0
end

for program in pfctl pfifconfig pfnetstart pfsyncctl pfsyncd pfsyncdump
    complete -c $program -f -a '(__pfsync_complete)'
    complete -c $program -F -n __pfsync_files
end
