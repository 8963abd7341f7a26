// sluice-perf: round trips and throughput of flows, against itself or rlite's rinaperf.

#include "perf.hpp"

#include <csignal>

using namespace sluice::tools;

int main(int argc, char** argv) {
    CLI::App app(
        "Measures flows. Speaks the protocol of rinaperf and has its names, so either end may be "
        "rinaperf.");
    PerfOptions options;
    bool listen = false;
    const std::map<std::string, Opcode> tests = {
        {"ping", Opcode::ping}, {"rr", Opcode::rr}, {"perf", Opcode::perf}};
    app.add_flag("-l,--listen", listen, "be the server, for any number of clients");
    app.add_option("-z,--server", options.server, "name of the server")->capture_default_str();
    app.add_option("-t,--test", options.test,
                   "ping: a round trip now and then; rr: one after the other; perf: one way, as "
                   "fast as it goes")
        ->transform(CLI::CheckedTransformer(tests, CLI::ignore_case))
        ->option_text("TEXT:{ping,rr,perf} [ping]");
    app.add_option("-c,--count", options.count,
                   "SDUs to send; without it or -D, ping goes on until interrupted and the others "
                   "for 10 s");
    app.add_option("-D,--duration", options.seconds, "seconds to send for");
    app.add_option("-s,--size", options.size, "bytes of an SDU, at least 2 (ping and rr: 64; perf: "
                                              "as many as fit, 1460 at most)");
    app.add_option("-i,--interval", options.interval_us,
                   "microseconds between SDUs (ping: a second; the others: none)");
    app.add_option("-I,--report", options.report, "a line each so many seconds (perf)");
    app.add_option("-p,--parallel", options.parallel, "clients side by side")
        ->check(CLI::Range(1, 256));
    app.add_flag("-j,--json", options.json, "say the result as JSON");
    app.add_flag("-q,--quiet", options.quiet, "say nothing but the result and errors");
    add_flow_options(app, options.flow);
    parse(app, argc, argv);
    ::signal(SIGPIPE, SIG_IGN);
    if (listen) run_perf_server(options);
    if (options.flow.local.empty()) options.flow.local = kPerfClient;
    return run_perf_client(options);
}
