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
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "run" -d 'Trace a command, processes, a control group or the machine, and report what became of the bytes'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "assert" -d 'Run a command, and fail if more bytes were copied on the path to some endpoints than allowed'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "record" -d 'Trace as `run` does, and write every observation to a file instead of a report'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "report" -d 'Show the report of a recording, or a report saved with --format json, or the certificate of one flow'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "replay" -d 'Replay a recording: live on a terminal, else as periodic snapshots'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "demo" -d 'Send real data through real files and sockets, and show which paths move and which copy (no privileges)'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "doctor" -d 'Check whether tracing works here, what it costs, what it does not cover, and how to fix problems'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "selftest" -d 'Perform known moves and known copies here, and check how each is classified'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "explain" -d 'Explain a reason code, with a hint'
complete -c zctrace -n "__fish_zctrace_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -s p -l pid -d 'Trace running processes and their descendants' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l cgroup -d 'Trace the processes of a control group, such as /system.slice/nginx.service' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l user -d 'Run CMD as this user [default: the caller of sudo, else the current user]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l level -d 'full: every page of every call. digest: what is sent over TCP, by page digests, with low overhead, and none for other programs. counters: bytes sent over TCP, without verdicts [default: full]' -r -f -a "full\t''
digest\t''
counters\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l duration -d 'Trace no longer than this: 10s, 500ms, 2m' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l btf -d 'Read the kernel\'s types from this BTF file if the kernel has none; the selftest must pass with them' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l record -d 'Also record every observation, for `zctrace report` and `zctrace replay`' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l every -d 'Also report at this interval; as JSON, one line each' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l filter -d 'Show matching flows only, such as \'to=tcp::443 and copied>0\'; totals are of those' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l format -d 'Output format: text, json, junit (a test case per row) [default: text]' -r -f -a "text\t''
json\t''
junit\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -s o -l output -d 'Write the report to this file [default: standard output]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l rows -d 'Group similar flows into at most N rows [default: 30]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l theme -d 'Colors of the live view: dark, light, high-contrast, color-blind, none' -r -f -a "dark\t''
light\t''
high-contrast\t''
color-blind\t''
none\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l config -d 'Settings and keys of the live view [default: ~/.config/zctrace/config.toml]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l no-follow -d 'Do not trace descendants'
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l ascii -d 'Use only ASCII in the live view'
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -l mouse -d 'Enable the mouse in the live view'
complete -c zctrace -n "__fish_zctrace_using_subcommand run" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l to -d 'Judge the bytes delivered to these endpoints, from any source' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l from -d 'Judge only bytes from these endpoints' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l max-copied -d 'How much may be copied: 0, 64K, 1%. Peeks count as copies' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l max-unknown -d 'How much may be unknown [default: nothing that could change the verdict]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l min-bytes -d 'How much must be delivered for a verdict [default: 1]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l baseline -d 'Compare with a good run; without --max-copied, additional copies fail' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l save-baseline -d 'Write the copies of this run, to compare later runs with' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l allow -d 'Do not count bytes that are copied or unknown for this reason, such as ZC10' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l wait -d 'After CMD has ended, wait for the processes that it started, at most this long [default with --wait: 60s]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l user -d 'Run CMD as this user [default: the caller of sudo, else the current user]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l level -d 'full: every page of every call. digest: what is sent over TCP, by page digests, with low overhead, and none for other programs. counters: bytes sent over TCP, without verdicts [default: full]' -r -f -a "full\t''
digest\t''
counters\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l duration -d 'Trace no longer than this: 10s, 500ms, 2m' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l btf -d 'Read the kernel\'s types from this BTF file if the kernel has none; the selftest must pass with them' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l record -d 'Also record every observation, for `zctrace report` and `zctrace replay`' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l format -d 'Output format: text, json, junit (a test case per rule) [default: text]' -r -f -a "text\t''
json\t''
junit\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -s o -l output -d 'Write the report to this file [default: standard output]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l rows -d 'Group similar flows into at most N rows [default: 30]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -l no-follow -d 'Do not trace descendants'
complete -c zctrace -n "__fish_zctrace_using_subcommand assert" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -s p -l pid -d 'Trace running processes and their descendants' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l cgroup -d 'Trace the processes of a control group, such as /system.slice/nginx.service' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l user -d 'Run CMD as this user [default: the caller of sudo, else the current user]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l level -d 'full: every page of every call. digest: what is sent over TCP, by page digests, with low overhead, and none for other programs. counters: bytes sent over TCP, without verdicts [default: full]' -r -f -a "full\t''
digest\t''
counters\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l duration -d 'Trace no longer than this: 10s, 500ms, 2m' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l btf -d 'Read the kernel\'s types from this BTF file if the kernel has none; the selftest must pass with them' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -s o -l output -d 'Write the recording to this file [default: zctrace.zct]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -l no-follow -d 'Do not trace descendants'
complete -c zctrace -n "__fish_zctrace_using_subcommand record" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -l flow -d 'Show the certificate of this flow, hop by hop' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -l until -d 'Replay the recording up to this time' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -l filter -d 'Show matching flows only, such as \'to=tcp::443 and copied>0\'; totals are of those' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -l format -d 'Output format: text, json, junit [default: text]' -r -f -a "text\t''
json\t''
junit\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -s o -l output -d 'Write the report to this file [default: standard output]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -l rows -d 'Group similar flows into at most N rows [default: 30]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand report" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l speed -d 'Speed as a multiple of real time, such as 10 or 0.5, or max: without waiting [default: 1]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l every -d 'Report at this interval, in the recording\'s time [default: 1s]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l from -d 'Start at this time in the recording' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l until -d 'End at this time in the recording' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l filter -d 'Show matching flows only, such as \'to=tcp::443 and copied>0\'; totals are of those' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l format -d 'Output format: text, json (one line each) [default: text]' -r -f -a "text\t''
json\t''
junit\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -s o -l output -d 'Write the report to this file [default: standard output]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l rows -d 'Group similar flows into at most N rows [default: 30]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l theme -d 'Colors of the live view: dark, light, high-contrast, color-blind, none' -r -f -a "dark\t''
light\t''
high-contrast\t''
color-blind\t''
none\t''"
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l config -d 'Settings and keys of the live view [default: ~/.config/zctrace/config.toml]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l ascii -d 'Use only ASCII in the live view'
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -l mouse -d 'Enable the mouse in the live view'
complete -c zctrace -n "__fish_zctrace_using_subcommand replay" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -l dir -d 'Directory of the files; the results hold for its filesystem [default: the temporary directory]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -l size -d 'Bytes that each path carries: 64MiB, 10M, 4096 [default: 64MiB]' -r
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -l btf -d 'Read the kernel\'s types from this BTF file, for the kernel\'s evidence; the selftest must pass with them' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -l json -d 'Print the report as JSON'
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -l matrix -d 'Only ask the oracle which pairs of endpoints share pages on this kernel'
complete -c zctrace -n "__fish_zctrace_using_subcommand demo" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand doctor" -l btf -d 'Check the types of this BTF file, such as another kernel\'s, and load nothing' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand doctor" -l all -d 'Show every row, and the verifier log of a rejected program'
complete -c zctrace -n "__fish_zctrace_using_subcommand doctor" -l json -d 'Print the result as JSON'
complete -c zctrace -n "__fish_zctrace_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand selftest" -l dir -d 'Directory of its files [default: the temporary directory or, if that is not on a disk, /var/tmp]' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand selftest" -l btf -d 'Read the kernel\'s types from this BTF file, and store no result' -r -F
complete -c zctrace -n "__fish_zctrace_using_subcommand selftest" -l json -d 'Print the result as JSON'
complete -c zctrace -n "__fish_zctrace_using_subcommand selftest" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand explain" -s h -l help -d 'Print help'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "run" -d 'Trace a command, processes, a control group or the machine, and report what became of the bytes'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "assert" -d 'Run a command, and fail if more bytes were copied on the path to some endpoints than allowed'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "record" -d 'Trace as `run` does, and write every observation to a file instead of a report'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "report" -d 'Show the report of a recording, or a report saved with --format json, or the certificate of one flow'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "replay" -d 'Replay a recording: live on a terminal, else as periodic snapshots'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "demo" -d 'Send real data through real files and sockets, and show which paths move and which copy (no privileges)'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "doctor" -d 'Check whether tracing works here, what it costs, what it does not cover, and how to fix problems'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "selftest" -d 'Perform known moves and known copies here, and check how each is classified'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "explain" -d 'Explain a reason code, with a hint'
complete -c zctrace -n "__fish_zctrace_using_subcommand help; and not __fish_seen_subcommand_from run assert record report replay demo doctor selftest explain help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
