# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_zctrace_global_optspecs
    string join \n h/help V/version
end

function __fish_zctrace_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_zctrace_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_zctrace_using_subcommand
    set -l cmd (__fish_zctrace_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c zctrace -n "__fish_zctrace_needs_command" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_needs_command" -s V -l version -d 'Print version'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "run" -d 'Trace a command, processes, a control group or the machine, and say what became of the bytes'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "assert" -d 'Run a command, and fail if more was copied on the way to some ends than is allowed'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "record" -d 'Trace as `run` does, and keep all that is seen in a file instead of saying what it means'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "report" -d 'Show what a recording says, or a report that was saved with --format json, or one flow\'s certificate'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "replay" -d 'Play a recording as it happened: on a terminal live, else again and again what was known so far'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "demo" -d 'Move real data over real files and sockets, and show which paths move and which copy (no privileges)'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "doctor" -d 'Say whether it can run here, what it costs here, what it cannot see, and what mends that'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "selftest" -d 'Make known moves and known copies here, and see whether each is seen as what it is'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "explain" -d 'What a reason code means, and what to do about it'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -s p -l pid -d 'Processes that run already, and their descendants' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l cgroup -d 'The processes of a control group, such as /system.slice/nginx.service' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l user -d 'Run CMD as this user [default: who called sudo, else the current one]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l level -d 'full: every page of every call. digest: what is sent over TCP, by sums over its pages, at a small part of the cost and at none for other programs. counters: bytes sent over TCP, without what became of them [default: full]' -r -f -a "full\t''
digest\t''
counters\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l duration -d 'Trace no longer than this: 10s, 500ms, 2m' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l btf -d 'Take the kernel\'s types from here, if it does not tell them itself; the selftest must pass with them' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l record -d 'Also record all that is seen, for `zctrace report` and `zctrace replay`' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l every -d 'Also say what is known so far this often; as JSON one line each' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l filter -d 'Tell only of the flows that fit, such as \'to=tcp::443 and copied>0\'; totals are of those' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l format -d 'How to say it: text, or json, or junit (a case for each row) [default: text]' -r -f -a "text\t''
json\t''
junit\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -s o -l output -d 'Write the report there [default: standard output]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l rows -d 'Fold like flows into at most so many rows [default: 30]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l theme -d 'Colors of the live view: dark, light, high-contrast, color-blind, none' -r -f -a "dark\t''
light\t''
high-contrast\t''
color-blind\t''
none\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l config -d 'Settings and keys of the live view [default: ~/.config/zctrace/config.toml]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l no-follow -d 'Do not trace descendants'
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l ascii -d 'Only ASCII in the live view'
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l mouse -d 'Listen to the mouse in the live view'
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l to -d 'Judge the bytes that arrive at these ends, from wherever they come' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l from -d 'Judge only bytes that come from these ends' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l max-copied -d 'How much may be copied: 0, 64K, 1%. Looks count as copies' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l max-unknown -d 'How much may be unknown [default: none that could decide the verdict]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l min-bytes -d 'How much must arrive for there to be something to judge [default: 1]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l baseline -d 'Compare with a good run; without --max-copied more copies than there fail' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l save-baseline -d 'Write what this run copied, to compare later runs with' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l allow -d 'Do not count what is copied or unknown for this reason, such as ZC10' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l user -d 'Run CMD as this user [default: who called sudo, else the current one]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l level -d 'full: every page of every call. digest: what is sent over TCP, by sums over its pages, at a small part of the cost and at none for other programs. counters: bytes sent over TCP, without what became of them [default: full]' -r -f -a "full\t''
digest\t''
counters\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l duration -d 'Trace no longer than this: 10s, 500ms, 2m' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l btf -d 'Take the kernel\'s types from here, if it does not tell them itself; the selftest must pass with them' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l record -d 'Also record all that is seen, for `zctrace report` and `zctrace replay`' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l format -d 'How to say it: text, or json, or junit (a case for each rule) [default: text]' -r -f -a "text\t''
json\t''
junit\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -s o -l output -d 'Write the report there [default: standard output]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l rows -d 'Fold like flows into at most so many rows [default: 30]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l no-follow -d 'Do not trace descendants'
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -s p -l pid -d 'Processes that run already, and their descendants' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l cgroup -d 'The processes of a control group, such as /system.slice/nginx.service' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l user -d 'Run CMD as this user [default: who called sudo, else the current one]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l level -d 'full: every page of every call. digest: what is sent over TCP, by sums over its pages, at a small part of the cost and at none for other programs. counters: bytes sent over TCP, without what became of them [default: full]' -r -f -a "full\t''
digest\t''
counters\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l duration -d 'Trace no longer than this: 10s, 500ms, 2m' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l btf -d 'Take the kernel\'s types from here, if it does not tell them itself; the selftest must pass with them' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -s o -l output -d 'Write the recording there [default: zctrace.zct]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l no-follow -d 'Do not trace descendants'
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -l flow -d 'Show the certificate of this flow, hop by hop; its number is in the JSON' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -l until -d 'Of a recording, what was known so long after watching began' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -l filter -d 'Tell only of the flows that fit, such as \'to=tcp::443 and copied>0\'; totals are of those' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -l format -d 'How to say it: text, or json, or junit [default: text]' -r -f -a "text\t''
json\t''
junit\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -s o -l output -d 'Write the report there [default: standard output]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -l rows -d 'Fold like flows into at most so many rows [default: 30]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l speed -d 'So many times as fast as it happened, such as 10 or 0.5, or max: without waiting [default: 1]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l every -d 'Say what is known this often, in the recording\'s time [default: 1s]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l from -d 'Begin so long after watching began' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l until -d 'End so long after watching began' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l filter -d 'Tell only of the flows that fit, such as \'to=tcp::443 and copied>0\'; totals are of those' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l format -d 'How to say it: text, or json (a line for each) [default: text]' -r -f -a "text\t''
json\t''
junit\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -s o -l output -d 'Write the report there [default: standard output]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l rows -d 'Fold like flows into at most so many rows [default: 30]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l theme -d 'Colors of the live view: dark, light, high-contrast, color-blind, none' -r -f -a "dark\t''
light\t''
high-contrast\t''
color-blind\t''
none\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l config -d 'Settings and keys of the live view [default: ~/.config/zctrace/config.toml]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l ascii -d 'Only ASCII in the live view'
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l mouse -d 'Listen to the mouse in the live view'
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -l dir -d 'Where the files lie; what is shown is true of its filesystem [default: the temporary directory]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -l size -d 'What each path carries: 64MiB, 10M, 4096 [default: 64MiB]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -l btf -d 'Take the kernel\'s types from here, for the kernel\'s own evidence; the selftest must pass with them' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -l json -d 'Print the report as JSON, and nothing else'
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -l matrix -d 'Only ask the oracle which pairs of ends share pages on this kernel'
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand doctor" -l btf -d 'Look for what is needed in these types, of another kernel say; nothing is loaded then' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand doctor" -l all -d 'Show every row, and what the kernel said of a program that it refused'
complete -c zctrace -n "__fish_zctrace_using_subcommand doctor" -l json -d 'Print the answer as JSON, and nothing else'
complete -c zctrace -n "__fish_zctrace_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand selftest" -l dir -d 'Where its files lie [default: the temporary directory or, if that is on no disk, /var/tmp]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand selftest" -l btf -d 'Take the kernel\'s types from here, and remember nothing' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand selftest" -l json -d 'Print the answer as JSON, and nothing else'
complete -c zctrace -n "__fish_zctrace_using_subcommand selftest" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand explain" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "run" -d 'Trace a command, processes, a control group or the machine, and say what became of the bytes'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "assert" -d 'Run a command, and fail if more was copied on the way to some ends than is allowed'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "record" -d 'Trace as `run` does, and keep all that is seen in a file instead of saying what it means'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "report" -d 'Show what a recording says, or a report that was saved with --format json, or one flow\'s certificate'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "replay" -d 'Play a recording as it happened: on a terminal live, else again and again what was known so far'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "demo" -d 'Move real data over real files and sockets, and show which paths move and which copy (no privileges)'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "doctor" -d 'Say whether it can run here, what it costs here, what it cannot see, and what mends that'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "selftest" -d 'Make known moves and known copies here, and see whether each is seen as what it is'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "explain" -d 'What a reason code means, and what to do about it'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
