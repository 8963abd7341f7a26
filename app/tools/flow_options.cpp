#include "flow_options.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace sluice::tools {

void parse(CLI::App& app, int argc, char** argv) {
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) std::exit(app.exit(error));
        std::fprintf(stderr, "%s: %s (see --help)\n", program_invocation_short_name, error.what());
        std::exit(2);
    }
}

void add_flow_options(CLI::App& app, FlowOptions& options) {
    const std::string group = "Flow";
    app.add_option("-d,--dif", options.dif, "DIF to use; without it the system chooses")
        ->group(group);
    app.add_option("-a,--name", options.local, "own name: process|instance|entity|instance")
        ->group(group);
    CLI::Option* const reliable =
        app.add_flag("--reliable", options.reliable, "nothing is lost, all is in order")
            ->group(group);
    CLI::Option* const unreliable =
        app.add_flag("--unreliable", options.unreliable, "SDUs may be lost or come out of order")
            ->group(group);
    CLI::Option* const gap =
        app.add_option("-g,--gap", options.gap, "SDUs that may miss in a row; 0 is reliable")
            ->group(group);
    reliable->excludes(unreliable);
    gap->excludes(reliable)->excludes(unreliable);
    app.add_option("-L,--loss", options.loss, "most loss, in percent")
        ->check(CLI::Range(0.0, 100.0))
        ->group(group);
    app.add_option("-B,--bandwidth", options.bandwidth, "bit/s to reserve; k, M and G are known")
        ->group(group);
    app.add_option("--delay", options.delay_us, "most delay, in microseconds")->group(group);
    app.add_option("--jitter", options.jitter_us, "most jitter, in microseconds")->group(group);
}

rina_flow_spec spec_of(const FlowOptions& options, bool reliable) {
    rina_flow_spec spec;
    rina_flow_spec_unreliable(&spec);
    if (options.gap)
        spec.max_sdu_gap = *options.gap;
    else if (options.reliable || (reliable && !options.unreliable))
        spec.max_sdu_gap = 0;
    if (spec.max_sdu_gap == 0) {
        spec.in_order_delivery = 1;
        spec.max_loss = 0;
    }
    if (options.loss) spec.max_loss = static_cast<std::uint16_t>(*options.loss * 100 + 0.5);
    if (!options.bandwidth.empty()) {
        const auto bits = parse_quantity(options.bandwidth);
        if (!bits)
            die("--bandwidth is '" + options.bandwidth + "'; expected a number as 250000 or 10M");
        spec.avg_bandwidth = *bits;
    }
    spec.max_delay = options.delay_us;
    spec.max_jitter = options.jitter_us;
    return spec;
}

void die(const std::string& text) {
    std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, text.c_str());
    std::exit(1);
}

std::string errno_text(int code) {
    switch (code) {
        case EHOSTUNREACH: return "nobody has registered that name";
        case ENETUNREACH: return "there is no such DIF";
        case ECONNREFUSED: return "refused";
        case ECONNRESET: return "the server of the IPC processes went away";
        case EADDRINUSE: return "the name is registered already";
        case EACCES: return "not allowed";
        case EDQUOT: return "too many names are registered";
        case ENOTSUP: return "no flow of that kind is possible";
        case EINVAL: return "that is no valid name or flow specification";
        default: return std::strerror(code);
    }
}

void die_errno(const std::string& text) { die(text + ": " + errno_text(errno)); }

namespace {

// Of what goes wrong before anybody has been asked anything.
void die_if_no_server() {
    const int code = errno;
    const int probe = rina_open();
    if (probe >= 0) {
        ::close(probe);
        errno = code;
        return;
    }
    const char* path = std::getenv("SLUICE_API");
    die(std::string("no server of IPC processes at ") +
        (path != nullptr && *path != '\0' ? path : "/run/sluice/api.sock") +
        " (SLUICE_API names another): " + std::strerror(errno));
}

}  // namespace

int open_and_register(const FlowOptions& options, const std::string& name) {
    const int fd = rina_open();
    if (fd < 0) die_if_no_server();
    if (rina_register(fd, options.dif_or_null(), name.c_str(), 0) < 0)
        die_errno("cannot register '" + name + "'");
    return fd;
}

int allocate(const FlowOptions& options, const std::string& remote, const rina_flow_spec& spec) {
    const int fd = rina_flow_alloc(options.dif_or_null(), options.local.c_str(), remote.c_str(),
                                   &spec, 0);
    if (fd >= 0) return fd;
    die_if_no_server();
    die_errno("cannot allocate a flow to '" + remote + "'");
}

std::optional<std::uint64_t> parse_quantity(const std::string& text) {
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || end - rest > 1) return std::nullopt;
    std::uint64_t unit = 1;
    if (rest != end) {
        const char* const units = "kKmMgG";
        const char* const found = std::strchr(units, *rest);
        if (found == nullptr || *rest == '\0') return std::nullopt;
        for (std::ptrdiff_t i = 0; i <= (found - units) / 2; ++i) unit *= 1000;
    }
    if (number > ~std::uint64_t{0} / unit) return std::nullopt;
    return number * unit;
}

bool wait_for(int fd, short events, int milliseconds) {
    pollfd wait = {fd, events, 0};
    for (;;) {
        const int count = ::poll(&wait, 1, milliseconds);
        if (count >= 0 || errno != EINTR) return count > 0;
    }
}

}  // namespace sluice::tools
