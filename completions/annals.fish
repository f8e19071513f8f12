# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_annals_global_optspecs
    string join \n json color= v/verbose h/help V/version
end

function __fish_annals_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_annals_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_annals_using_subcommand
    set -l cmd (__fish_annals_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c annals -n "__fish_annals_needs_command" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_needs_command" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_needs_command" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_needs_command" -s h -l help -d 'Print help'
complete -c annals -n "__fish_annals_needs_command" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_needs_command" -f -a "append" -d 'Append one event with the bytes of stdin, or with --lines one for each of its lines'
complete -c annals -n "__fish_annals_needs_command" -f -a "import" -d 'Import NDJSON, plain or zstd: run again after a kill, it goes on where it stopped'
complete -c annals -n "__fish_annals_needs_command" -f -a "export" -d 'Write the users\' events to stdout as JSON, one a line, for `annals import --format envelope`'
complete -c annals -n "__fish_annals_needs_command" -f -a "cat" -d 'Show events, from first to last; ends at the end seen at the start'
complete -c annals -n "__fish_annals_needs_command" -f -a "tail" -d 'Show the last events; with -f also those that come, until Ctrl-C'
complete -c annals -n "__fish_annals_needs_command" -f -a "get" -d 'Show the event at an offset'
complete -c annals -n "__fish_annals_needs_command" -f -a "streams" -d 'List the streams whose names match, with their events; in the order of their last events'
complete -c annals -n "__fish_annals_needs_command" -f -a "types" -d 'List the types of the users\' events with the number of each, by name'
complete -c annals -n "__fish_annals_needs_command" -f -a "stat" -d 'Show what is in a log: events, streams, types, times, segments, and who writes it'
complete -c annals -n "__fish_annals_needs_command" -f -a "state" -d 'Show the state of a handler: its keys and values, sorted by key; also of an earlier moment'
complete -c annals -n "__fish_annals_needs_command" -f -a "same" -d 'Compare two logs by the users\' events; exit code 1 when they differ, and where'
complete -c annals -n "__fish_annals_needs_command" -f -a "consumers" -d 'List the consumers of a log, set the cursor of one, or remove it'
complete -c annals -n "__fish_annals_needs_command" -f -a "lag" -d 'Show how far the consumers and handlers of a log lie behind it; exit code 1 when one lies too far'
complete -c annals -n "__fish_annals_needs_command" -f -a "handle" -d 'Handle events with a command, each exactly once: state, position and outputs move together'
complete -c annals -n "__fish_annals_needs_command" -f -a "handlers" -d 'List the handlers of a log and how far each is; pause one, let it go on, or have it pass over an event'
complete -c annals -n "__fish_annals_needs_command" -f -a "park" -d 'Show the streams that a handler has set aside, try one again, or give up what waits there'
complete -c annals -n "__fish_annals_needs_command" -f -a "replay" -d 'Handle a handler\'s events again, without appending anything, and say what state that makes'
complete -c annals -n "__fish_annals_needs_command" -f -a "cutover" -d 'Build a new generation of a handler beside the live one, and put it in its place'
complete -c annals -n "__fish_annals_needs_command" -f -a "check-handler" -d 'Try a command on events of a log, in memory, and say which laws of exactly-once handling hold'
complete -c annals -n "__fish_annals_needs_command" -f -a "verify" -d 'Read every byte of a log and check it: sound (exit code 0) or damaged (1)'
complete -c annals -n "__fish_annals_needs_command" -f -a "repair" -d 'Print what is wrong with a log and what mending it would do; with --apply, do it'
complete -c annals -n "__fish_annals_needs_command" -f -a "dump" -d 'Show what stands in a segment file: headers, names, events and indexes with their byte positions'
complete -c annals -n "__fish_annals_needs_command" -f -a "bench" -d 'Append at a rate, measure each event from when it was due, and check that all can be read back'
complete -c annals -n "__fish_annals_needs_command" -f -a "demo" -d 'Show what a log does: a small shop whose writer is killed while it writes'
complete -c annals -n "__fish_annals_needs_command" -f -a "completions" -d 'Write the completions of a shell to stdout'
complete -c annals -n "__fish_annals_needs_command" -f -a "man" -d 'Write a manual page to stdout, or all of them into a directory'
complete -c annals -n "__fish_annals_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c annals -n "__fish_annals_using_subcommand append" -l type -d 'What kind of fact it is' -r
complete -c annals -n "__fish_annals_using_subcommand append" -l expect -d 'Append only if the stream\'s last event has this version, or if the stream has no event, or has one; with --lines said of the first' -r
complete -c annals -n "__fish_annals_using_subcommand append" -l id -d 'The producer\'s own name for the event' -r
complete -c annals -n "__fish_annals_using_subcommand append" -l time -d 'When it happened [default: when it is recorded]' -r
complete -c annals -n "__fish_annals_using_subcommand append" -l header -d 'A header; may be given again' -r
complete -c annals -n "__fish_annals_using_subcommand append" -l content-type -d 'Media type of the data' -r
complete -c annals -n "__fish_annals_using_subcommand append" -l durability -d 'What the events survive once this says that they are appended' -r -f -a "os\t'A kill of this process'
disk\t'Power cuts too'"
complete -c annals -n "__fish_annals_using_subcommand append" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand append" -l lines -d 'One event for each line of stdin'
complete -c annals -n "__fish_annals_using_subcommand append" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand append" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand append" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand append" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand import" -l stream -d 'Stream of a line: text with `{field}` or `{/json/pointer}`' -r
complete -c annals -n "__fish_annals_using_subcommand import" -l type -d 'Type of a line' -r
complete -c annals -n "__fish_annals_using_subcommand import" -l time -d 'Field, or JSON pointer, with the time of a line: RFC 3339, `YYYY-MM-DD[ HH:MM[:SS]]` or RFC 5322' -r
complete -c annals -n "__fish_annals_using_subcommand import" -l id -d 'Id of a line' -r
complete -c annals -n "__fish_annals_using_subcommand import" -l source -d 'Name under which the log notes how far the input was read [default: the file\'s name]' -r
complete -c annals -n "__fish_annals_using_subcommand import" -l format -d 'What the lines are' -r -f -a "ndjson\t'JSON of any kind'
envelope\t'What `annals export` writes; it needs no --stream and no --type'"
complete -c annals -n "__fish_annals_using_subcommand import" -l zone -d 'Zone of times that name none, like `Europe/Berlin` or `+01:00` [default: UTC]' -r
complete -c annals -n "__fish_annals_using_subcommand import" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand import" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand import" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand import" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand export" -l from -d 'First position: start, end, 1234, end-100, #N (after N user events), a time (2026-11-23, 09:30, RFC 3339, \'2h ago\', -2h, now, @1713812735s)' -r
complete -c annals -n "__fish_annals_using_subcommand export" -l to -d 'Position behind the last one; `+1h` counts from a --from that is a time' -r
complete -c annals -n "__fish_annals_using_subcommand export" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand export" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand export" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand export" -s h -l help -d 'Print help'
complete -c annals -n "__fish_annals_using_subcommand export" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand cat" -l from -d 'First position: start, end, 1234, end-100, #N (after N user events), a time (2026-11-23, 09:30, RFC 3339, \'2h ago\', -2h, now, @1713812735s)' -r
complete -c annals -n "__fish_annals_using_subcommand cat" -l to -d 'Position behind the last one; `+1h` counts from a --from that is a time' -r
complete -c annals -n "__fish_annals_using_subcommand cat" -l since -d 'From so long before now, or from a time: 2h, 2026-11-23' -r
complete -c annals -n "__fish_annals_using_subcommand cat" -l stream -d 'Only streams that match: `*` stands for any run of characters, a backslash takes the next one as it is; may be given again. A pattern that starts with `$` shows the log\'s own' -r
complete -c annals -n "__fish_annals_using_subcommand cat" -l type -d 'Only types that match, by patterns like those of streams; may be given again' -r
complete -c annals -n "__fish_annals_using_subcommand cat" -l happened-from -d 'Only events that happened at or after this time, by their own word, which may go back along the log' -r
complete -c annals -n "__fish_annals_using_subcommand cat" -l happened-to -d 'Only events that happened before this time' -r
complete -c annals -n "__fish_annals_using_subcommand cat" -s n -d 'At most so many events' -r
complete -c annals -n "__fish_annals_using_subcommand cat" -l consumer -d 'Begin at the cursor of this consumer, and move it past what was written out. A new one begins at the start. With --stream, --type or --system it wants those from now on' -r
complete -c annals -n "__fish_annals_using_subcommand cat" -s o -l output -d 'How events are written' -r -f -a "text\t'Columns for people; data is escaped, and on a terminal cut to its width'
json\t'One envelope a line, without loss'
raw\t'The data as it is, and a line feed'
hex\t'The data in hexadecimal and in ASCII'"
complete -c annals -n "__fish_annals_using_subcommand cat" -l template -d 'A line of text with {field} or {/json/pointer} for what the envelope (-o json) holds: \'{offset} {stream}@{version} {/data/amount}\'' -r
complete -c annals -n "__fish_annals_using_subcommand cat" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand cat" -l system -d 'The log\'s own events too'
complete -c annals -n "__fish_annals_using_subcommand cat" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand cat" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand cat" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand cat" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand tail" -s n -d 'So many of the last events [default: 10]' -r
complete -c annals -n "__fish_annals_using_subcommand tail" -l timeout -d 'With -f: end after so long, with exit code 124' -r
complete -c annals -n "__fish_annals_using_subcommand tail" -l stream -d 'Only streams that match: `*` stands for any run of characters, a backslash takes the next one as it is; may be given again. A pattern that starts with `$` shows the log\'s own' -r
complete -c annals -n "__fish_annals_using_subcommand tail" -l type -d 'Only types that match, by patterns like those of streams; may be given again' -r
complete -c annals -n "__fish_annals_using_subcommand tail" -l consumer -d 'Begin at the cursor of this consumer, and move it past what was written out. A new one begins at the start. With --stream, --type or --system it wants those from now on' -r
complete -c annals -n "__fish_annals_using_subcommand tail" -s o -l output -d 'How events are written' -r -f -a "text\t'Columns for people; data is escaped, and on a terminal cut to its width'
json\t'One envelope a line, without loss'
raw\t'The data as it is, and a line feed'
hex\t'The data in hexadecimal and in ASCII'"
complete -c annals -n "__fish_annals_using_subcommand tail" -l template -d 'A line of text with {field} or {/json/pointer} for what the envelope (-o json) holds: \'{offset} {stream}@{version} {/data/amount}\'' -r
complete -c annals -n "__fish_annals_using_subcommand tail" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand tail" -s f -l follow -d 'Go on with the events that come'
complete -c annals -n "__fish_annals_using_subcommand tail" -l system -d 'The log\'s own events too'
complete -c annals -n "__fish_annals_using_subcommand tail" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand tail" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand tail" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand tail" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand get" -s o -l output -d 'How events are written' -r -f -a "text\t'Columns for people; data is escaped, and on a terminal cut to its width'
json\t'One envelope a line, without loss'
raw\t'The data as it is, and a line feed'
hex\t'The data in hexadecimal and in ASCII'"
complete -c annals -n "__fish_annals_using_subcommand get" -l template -d 'A line of text with {field} or {/json/pointer} for what the envelope (-o json) holds: \'{offset} {stream}@{version} {/data/amount}\'' -r
complete -c annals -n "__fish_annals_using_subcommand get" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand get" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand get" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand get" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand streams" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand streams" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand streams" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand streams" -s h -l help -d 'Print help'
complete -c annals -n "__fish_annals_using_subcommand streams" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand types" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand types" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand types" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand types" -s h -l help -d 'Print help'
complete -c annals -n "__fish_annals_using_subcommand types" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand stat" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand stat" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand stat" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand stat" -s h -l help -d 'Print help'
complete -c annals -n "__fish_annals_using_subcommand stat" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand state" -l at -d 'The state when all input below this position was handled: an offset, end-100, #N, a time. Where the records cannot tell it exactly, the last state before it, which is said on stderr' -r
complete -c annals -n "__fish_annals_using_subcommand state" -l generation -d 'The state of this generation; unless given, of the one that is live' -r
complete -c annals -n "__fish_annals_using_subcommand state" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand state" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand state" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand state" -s h -l help -d 'Print help'
complete -c annals -n "__fish_annals_using_subcommand state" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand same" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand same" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand same" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand same" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand same" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand consumers" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand consumers" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand consumers" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand consumers" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand consumers" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand lag" -l max -d 'Exit code 1 when more than so many events are left for one, or when one cannot go on' -r
complete -c annals -n "__fish_annals_using_subcommand lag" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand lag" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand lag" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand lag" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand lag" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand handle" -l name -d 'Name of the handler: its state and its position are kept under it' -r
complete -c annals -n "__fish_annals_using_subcommand handle" -l exec -d 'The command; it runs under `sh -c`' -r
complete -c annals -n "__fish_annals_using_subcommand handle" -l on -d 'Only events of these types, with commas between, or given again' -r
complete -c annals -n "__fish_annals_using_subcommand handle" -l stream -d 'Only events of streams that match; may be given again' -r
complete -c annals -n "__fish_annals_using_subcommand handle" -l key -d 'What state is kept by, made of an event\'s data: text with `{field}` or `{/json/pointer}` [default: the stream]' -r
complete -c annals -n "__fish_annals_using_subcommand handle" -l generation -d 'Version of the command\'s logic; each has a state of its own' -r
complete -c annals -n "__fish_annals_using_subcommand handle" -l timeout -d 'How long one answer may take' -r
complete -c annals -n "__fish_annals_using_subcommand handle" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand handle" -s f -l follow -d 'Go on with the events that come, until Ctrl-C'
complete -c annals -n "__fish_annals_using_subcommand handle" -l batch -d 'One line for all events of a key that are handled together: {"key":…,"events":[{…},…],"state":…}'
complete -c annals -n "__fish_annals_using_subcommand handle" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand handle" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand handle" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand handle" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand handlers" -l reason -d 'Why; it is kept in the log with the request' -r
complete -c annals -n "__fish_annals_using_subcommand handlers" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand handlers" -l dry-run -d 'Only say what would be done'
complete -c annals -n "__fish_annals_using_subcommand handlers" -s y -l yes -d 'Do it without asking back; needed where no terminal is there to ask at'
complete -c annals -n "__fish_annals_using_subcommand handlers" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand handlers" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand handlers" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand handlers" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand park" -l reason -d 'Why; it is kept in the log with the request' -r
complete -c annals -n "__fish_annals_using_subcommand park" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand park" -l all -d 'With `drop`: all events that wait in the stream, and not only the first'
complete -c annals -n "__fish_annals_using_subcommand park" -l dry-run -d 'Only say what would be done'
complete -c annals -n "__fish_annals_using_subcommand park" -s y -l yes -d 'Do it without asking back; needed where no terminal is there to ask at'
complete -c annals -n "__fish_annals_using_subcommand park" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand park" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand park" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand park" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand replay" -l until -d 'Only events before this position: an offset, end-100, #N, a time' -r
complete -c annals -n "__fish_annals_using_subcommand replay" -l generation -d 'The records of this generation; unless given, of the one that is live' -r
complete -c annals -n "__fish_annals_using_subcommand replay" -l exec -d 'The command; it runs under `sh -c`' -r
complete -c annals -n "__fish_annals_using_subcommand replay" -l on -d 'Only events of these types, with commas between, or given again' -r
complete -c annals -n "__fish_annals_using_subcommand replay" -l stream -d 'Only events of streams that match; may be given again' -r
complete -c annals -n "__fish_annals_using_subcommand replay" -l key -d 'What state is kept by, made of an event\'s data [default: the stream]' -r
complete -c annals -n "__fish_annals_using_subcommand replay" -l timeout -d 'How long one answer may take' -r
complete -c annals -n "__fish_annals_using_subcommand replay" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand replay" -l verify -d 'Hold rows and outputs against the records'
complete -c annals -n "__fish_annals_using_subcommand replay" -l fresh -d 'Decide failures anew: what would the handler do now?'
complete -c annals -n "__fish_annals_using_subcommand replay" -l batch -d 'One line for all events of a key that are handled together'
complete -c annals -n "__fish_annals_using_subcommand replay" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand replay" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand replay" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand cutover" -l to -d 'The generation that takes over' -r
complete -c annals -n "__fish_annals_using_subcommand cutover" -l exec -d 'The command; it runs under `sh -c`' -r
complete -c annals -n "__fish_annals_using_subcommand cutover" -l on -d 'Only events of these types, with commas between, or given again' -r
complete -c annals -n "__fish_annals_using_subcommand cutover" -l stream -d 'Only events of streams that match; may be given again' -r
complete -c annals -n "__fish_annals_using_subcommand cutover" -l key -d 'What state is kept by, made of an event\'s data [default: the stream]' -r
complete -c annals -n "__fish_annals_using_subcommand cutover" -l timeout -d 'How long one answer may take' -r
complete -c annals -n "__fish_annals_using_subcommand cutover" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand cutover" -l dry-run -d 'Only say what would be done; nothing is appended'
complete -c annals -n "__fish_annals_using_subcommand cutover" -s y -l yes -d 'Do it without asking'
complete -c annals -n "__fish_annals_using_subcommand cutover" -l batch -d 'One line for all events of a key that are handled together'
complete -c annals -n "__fish_annals_using_subcommand cutover" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand cutover" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand cutover" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand cutover" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l from -d 'First position: start, end, 1234, end-100, #N (after N user events), a time (2026-11-23, 09:30, RFC 3339, \'2h ago\', -2h, now, @1713812735s)' -r
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l to -d 'Position behind the last one; `+1h` counts from a --from that is a time' -r
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l require -d 'Laws that have to hold, with commas between [default: determinism, guarded-idempotence, late-duplicate, batch-independence]' -r
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l seed -d 'Where random numbers begin' -r
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l exec -d 'The command; it runs under `sh -c`' -r
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l on -d 'Only events of these types, with commas between, or given again' -r
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l stream -d 'Only events of streams that match; may be given again' -r
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l key -d 'What state is kept by, made of an event\'s data [default: the stream]' -r
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l timeout -d 'How long one answer may take' -r
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l batch -d 'One line for all events of a key that are handled together'
complete -c annals -n "__fish_annals_using_subcommand check-handler" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand check-handler" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand check-handler" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand check-handler" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand verify" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand verify" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand verify" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand verify" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand repair" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand repair" -l apply -d 'Do what the plan says'
complete -c annals -n "__fish_annals_using_subcommand repair" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand repair" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand repair" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand repair" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand dump" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand dump" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand dump" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand dump" -s h -l help -d 'Print help'
complete -c annals -n "__fish_annals_using_subcommand dump" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand bench" -l rate -d 'Events a second: 500, 20k, 1M' -r
complete -c annals -n "__fish_annals_using_subcommand bench" -l for -d 'How long: 10s, 2m' -r
complete -c annals -n "__fish_annals_using_subcommand bench" -l size -d 'Bytes of data of an event' -r
complete -c annals -n "__fish_annals_using_subcommand bench" -l durability -d 'What an event has to survive before it counts as appended' -r -f -a "disk\t'A power cut'
os\t'kill -9'"
complete -c annals -n "__fish_annals_using_subcommand bench" -l streams -d 'Streams to spread the events over' -r
complete -c annals -n "__fish_annals_using_subcommand bench" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand bench" -l beside-others -d 'Also in a log that holds events of others: they stay, and these stay behind them'
complete -c annals -n "__fish_annals_using_subcommand bench" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand bench" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand bench" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand demo" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand demo" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand demo" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand demo" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand completions" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand completions" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand completions" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand completions" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand man" -l dir -d 'Write all pages into this directory, made when it is not there' -r -F
complete -c annals -n "__fish_annals_using_subcommand man" -l color -d 'Colours' -r -f -a "auto\t''
always\t''
never\t''"
complete -c annals -n "__fish_annals_using_subcommand man" -l json -d 'Answer as JSON, one record a line; errors too, on stderr'
complete -c annals -n "__fish_annals_using_subcommand man" -s v -l verbose -d 'Say on stderr what is done; twice for more. ANNALS_TRACE takes a filter in its place'
complete -c annals -n "__fish_annals_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c annals -n "__fish_annals_using_subcommand man" -s V -l version -d 'Print version'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "append" -d 'Append one event with the bytes of stdin, or with --lines one for each of its lines'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "import" -d 'Import NDJSON, plain or zstd: run again after a kill, it goes on where it stopped'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "export" -d 'Write the users\' events to stdout as JSON, one a line, for `annals import --format envelope`'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "cat" -d 'Show events, from first to last; ends at the end seen at the start'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "tail" -d 'Show the last events; with -f also those that come, until Ctrl-C'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "get" -d 'Show the event at an offset'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "streams" -d 'List the streams whose names match, with their events; in the order of their last events'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "types" -d 'List the types of the users\' events with the number of each, by name'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "stat" -d 'Show what is in a log: events, streams, types, times, segments, and who writes it'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "state" -d 'Show the state of a handler: its keys and values, sorted by key; also of an earlier moment'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "same" -d 'Compare two logs by the users\' events; exit code 1 when they differ, and where'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "consumers" -d 'List the consumers of a log, set the cursor of one, or remove it'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "lag" -d 'Show how far the consumers and handlers of a log lie behind it; exit code 1 when one lies too far'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "handle" -d 'Handle events with a command, each exactly once: state, position and outputs move together'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "handlers" -d 'List the handlers of a log and how far each is; pause one, let it go on, or have it pass over an event'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "park" -d 'Show the streams that a handler has set aside, try one again, or give up what waits there'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "replay" -d 'Handle a handler\'s events again, without appending anything, and say what state that makes'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "cutover" -d 'Build a new generation of a handler beside the live one, and put it in its place'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "check-handler" -d 'Try a command on events of a log, in memory, and say which laws of exactly-once handling hold'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "verify" -d 'Read every byte of a log and check it: sound (exit code 0) or damaged (1)'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "repair" -d 'Print what is wrong with a log and what mending it would do; with --apply, do it'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "dump" -d 'Show what stands in a segment file: headers, names, events and indexes with their byte positions'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "bench" -d 'Append at a rate, measure each event from when it was due, and check that all can be read back'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "demo" -d 'Show what a log does: a small shop whose writer is killed while it writes'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "completions" -d 'Write the completions of a shell to stdout'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "man" -d 'Write a manual page to stdout, or all of them into a directory'
complete -c annals -n "__fish_annals_using_subcommand help; and not __fish_seen_subcommand_from append import export cat tail get streams types stat state same consumers lag handle handlers park replay cutover check-handler verify repair dump bench demo completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
