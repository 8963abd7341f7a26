// sluice-cat: netcat for flows.

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <vector>

#include "flow_options.hpp"

using namespace sluice::tools;

namespace {

constexpr std::size_t kSduMax = 1u << 20;

struct CatOptions {
    FlowOptions flow;
    std::string name;
    std::string in;
    std::string out;
    std::string command;
    std::size_t size = 0;
    bool listen = false;
    bool keep = false;
    bool wait = false;
    bool send_only = false;
    bool receive_only = false;
    bool verbose = false;
};

// Bytes on their way from one descriptor to another.
struct Stream {
    std::vector<char> bytes;
    std::size_t begin = 0;
    std::size_t end = 0;
    std::uint64_t total = 0;

    bool empty() const { return begin == end; }
};

bool passing(int code) { return code == EAGAIN || code == EINTR; }

// One flow, and what is copied into it and out of it.
class Copy {
  public:
    // The end of the input ends the flow if `input_ends`, or once anything was sent.
    Copy(int flow, int in, int out, const CatOptions& options, bool input_ends)
        : flow_(flow), in_(options.receive_only ? -1 : in), out_(out), wait_(options.wait),
          discard_(options.send_only), input_ends_(input_ends) {
        const std::size_t mss = rina_flow_mss_get(flow);
        if (mss == 0) die_errno("no flow");
        if (options.size > mss)
            die(fmt::format("--size is {}; this flow takes SDUs of at most {} bytes",
                            options.size, mss));
        to_flow_.bytes.resize(options.size != 0 ? options.size : mss);
        from_flow_.bytes.resize(kSduMax);
        ::fcntl(flow, F_SETFL, O_NONBLOCK);
        struct stat status = {};
        // A pipe that poll() calls writable may block for more than this.
        out_most_ = ::fstat(out, &status) == 0 && S_ISREG(status.st_mode) ? kSduMax : 4096;
    }

    // Until the flow is over. True if nothing was lost that we know of.
    bool run() {
        for (;;) {
            pollfd ready[3] = {{flow_, 0, 0}, {-1, POLLIN, 0}, {-1, POLLOUT, 0}};
            if (from_flow_.empty() && !ended_) ready[0].events |= POLLIN;
            if (!to_flow_.empty()) ready[0].events |= POLLOUT;
            if (in_ >= 0 && to_flow_.empty()) ready[1].fd = in_;
            if (!from_flow_.empty()) ready[2].fd = out_;
            if (ended_ && from_flow_.empty()) return finish();
            if (ended_ || ready[0].events == 0) ready[0].fd = -1;
            if (::poll(ready, 3, -1) < 0 && errno != EINTR) die_errno("cannot wait");
            if (ready[1].revents != 0) read_input();
            if (ready[0].revents != 0 && !to_flow_.empty()) write_flow();
            if (ready[0].revents != 0 && from_flow_.empty() && !ended_) read_flow();
            if (ready[2].revents != 0) write_output();
            if (closed_) return finish();
        }
    }

  private:
    bool finish() {
        if (lost_ || !to_flow_.empty() || more_input())
            failure_ = "the peer has ended the flow before all was sent";
        if (failure_.empty()) return true;
        fmt::print(stderr, "{}: {}\n", program_invocation_short_name, failure_);
        return false;
    }

    bool more_input() const {
        char byte;
        return in_ >= 0 && wait_for(in_, POLLIN, 0) && ::read(in_, &byte, 1) == 1;
    }

    void read_input() {
        const ssize_t size = ::read(in_, to_flow_.bytes.data(), to_flow_.bytes.size());
        if (size < 0 && passing(errno)) return;
        if (size > 0) {
            to_flow_.begin = 0;
            to_flow_.end = static_cast<std::size_t>(size);
            write_flow();
            return;
        }
        if (size < 0) failure_ = "cannot read the input: " + errno_text(errno);
        in_ = -1;
        if (!wait_ && (input_ends_ || to_flow_.total != 0 || size < 0)) end_sending();
    }

    // Nothing more will be sent; what was is delivered before the flow ends. What the peer has sent
    // until then is still read, where the descriptor is a socket that knows half an end.
    void end_sending() {
        if (::shutdown(flow_, SHUT_WR) == 0) return;
        ::close(flow_);
        closed_ = true;
    }

    void write_flow() {
        const ssize_t size = ::write(flow_, to_flow_.bytes.data(), to_flow_.end);
        if (size < 0 && passing(errno)) return;
        if (size < 0) {
            // What the peer sent before it ended the flow is still to be read.
            in_ = -1;
            lost_ = true;
            to_flow_.begin = to_flow_.end = 0;
            return;
        }
        to_flow_.total += to_flow_.end;
        to_flow_.begin = to_flow_.end = 0;
    }

    void read_flow() {
        const ssize_t size = ::read(flow_, from_flow_.bytes.data(), from_flow_.bytes.size());
        if (size < 0 && passing(errno)) return;
        if (size <= 0) {
            ended_ = true;
            if (size < 0) failure_ = "the flow has broken: " + errno_text(errno);
            return;
        }
        from_flow_.begin = 0;
        from_flow_.end = discard_ ? 0 : static_cast<std::size_t>(size);
    }

    void write_output() {
        const std::size_t most = std::min(from_flow_.end - from_flow_.begin, out_most_);
        const ssize_t size = ::write(out_, from_flow_.bytes.data() + from_flow_.begin, most);
        if (size < 0 && passing(errno)) return;
        if (size < 0) {
            failure_ = "cannot write the output: " + errno_text(errno);
            ended_ = true;
            from_flow_.begin = from_flow_.end;
            return;
        }
        from_flow_.begin += static_cast<std::size_t>(size);
    }

    int flow_;
    int in_;  // -1 when there is no more
    int out_;
    bool wait_;
    bool discard_;
    bool input_ends_;
    bool ended_ = false;   // by the peer
    bool closed_ = false;  // by us
    bool lost_ = false;
    std::size_t out_most_ = 0;
    Stream to_flow_;
    Stream from_flow_;
    std::string failure_;
};

int open_file(const std::string& path, int flags) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
    if (fd < 0) die_errno("cannot open " + path);
    return fd;
}

// A command with its standard input and output on the flow. True if both did well.
bool run_command(int flow, const CatOptions& options) {
    int to[2];
    int from[2];
    if (::pipe2(to, O_CLOEXEC) < 0 || ::pipe2(from, O_CLOEXEC) < 0) die_errno("cannot make pipes");
    const pid_t child = ::fork();
    if (child < 0) die_errno("cannot start a process");
    if (child == 0) {
        ::signal(SIGPIPE, SIG_DFL);
        ::dup2(to[0], 0);
        ::dup2(from[1], 1);
        ::close(flow);
        ::execl("/bin/sh", "sh", "-c", options.command.c_str(), nullptr);
        ::_exit(127);
    }
    ::close(to[0]);
    ::close(from[1]);
    const bool good = Copy(flow, from[0], to[1], options, true).run();
    ::close(flow);
    ::close(to[1]);
    // What it still says has nowhere to go; it is let finish.
    char rest[4096];
    while (::read(from[0], rest, sizeof rest) > 0 || errno == EINTR) errno = 0;
    ::close(from[0]);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    if (status != 0) {
        fmt::print(stderr, "{}: '{}' failed\n", program_invocation_short_name, options.command);
        return false;
    }
    return good;
}

bool serve_flow(int flow, const CatOptions& options) {
    if (!options.command.empty()) return run_command(flow, options);
    const int in = options.in.empty() ? STDIN_FILENO : open_file(options.in, O_RDONLY);
    const int out = options.out.empty() ? STDOUT_FILENO
                                        : open_file(options.out, O_WRONLY | O_CREAT | O_TRUNC);
    const bool good = Copy(flow, in, out, options, !options.listen).run();
    ::close(flow);
    if (out != STDOUT_FILENO && ::close(out) < 0) die_errno("cannot write " + options.out);
    if (in != STDIN_FILENO) ::close(in);
    return good;
}

int accept_flow(int listener) {
    for (;;) {
        const int flow = rina_flow_accept(listener, nullptr, nullptr, 0);
        if (flow >= 0) return flow;
        if (errno == ECONNRESET) die_errno("cannot accept flows");
        if (errno != EINTR)
            fmt::print(stderr, "{}: a flow was not accepted: {}\n", program_invocation_short_name,
                       errno_text(errno));
    }
}

int listen(const CatOptions& options) {
    const int listener = open_and_register(options.flow, options.name);
    if (options.verbose)
        fmt::print(stderr, "{}: registered '{}'\n", program_invocation_short_name, options.name);
    if (!options.keep) return serve_flow(accept_flow(listener), options) ? 0 : 1;
    ::signal(SIGCHLD, SIG_IGN);
    for (;;) {
        const int flow = accept_flow(listener);
        if (options.command.empty()) {
            serve_flow(flow, options);
            continue;
        }
        // Commands run beside each other, each below a process of its own that nobody waits for.
        const pid_t child = ::fork();
        if (child == 0) {
            ::signal(SIGCHLD, SIG_DFL);
            ::close(listener);
            ::_exit(run_command(flow, options) ? 0 : 1);
        }
        ::close(flow);
    }
}

void add_options(CLI::App& app, CatOptions& options) {
    app.add_option("NAME", options.name, "the peer's name, or with -l our own")->required();
    app.add_flag("-l,--listen", options.listen, "register NAME and wait for a flow");
    app.add_flag("-k,--keep", options.keep, "with -l: one flow after the other");
    app.add_option("-i,--input", options.in, "send this file, not the standard input");
    app.add_option("-o,--output", options.out, "write to this file, not to the standard output");
    app.add_option("-e,--exec", options.command,
                   "run this command of the shell with the flow as its input and output");
    app.add_flag("-w,--wait", options.wait,
                 "go on receiving behind the end of the input, until the peer ends the flow");
    CLI::Option* const send = app.add_flag("--send", options.send_only, "only send");
    app.add_flag("--receive", options.receive_only, "only receive")->excludes(send);
    app.add_flag("-v,--verbose", options.verbose, "say when NAME is registered");
    app.add_option("-s,--size", options.size, "bytes of an SDU; without it as many as fit");
    add_flow_options(app, options.flow);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app(
        "Copies the standard input into a flow, and what comes over the flow to the standard "
        "output. The flow is reliable unless an option says otherwise. The end of the input ends "
        "the flow when all is delivered; for a listener only if there was any input. A flow has "
        "no half end: see --wait.");
    CatOptions options;
    add_options(app, options);
    parse(app, argc, argv);
    if (options.keep && !options.listen) die("--keep goes with --listen");
    ::signal(SIGPIPE, SIG_IGN);
    if (options.listen) return listen(options);
    const int flow = allocate(options.flow, options.name, spec_of(options.flow, true));
    return serve_flow(flow, options) ? 0 : 1;
}
