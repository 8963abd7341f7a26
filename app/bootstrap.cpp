#include "app/bootstrap.hpp"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <optional>

#include "app/capture_cli.hpp"
#include "app/capture_session.hpp"
#include "app/eal.hpp"
#include "app/lcores.hpp"
#include "app/node.hpp"
#include "app/selftest.hpp"
#include "app/user.hpp"
#include "base/log.hpp"
#include "control/client.hpp"
#include "control/console.hpp"
#include "control/json_server.hpp"
#include "control/render.hpp"
#include "dataplane/clock.hpp"

namespace sluice::app {
namespace {

constexpr int kRunFailed = 1;
constexpr int kBadInput = 2;

struct Options {
    std::vector<std::string> eal;
    std::string config, script, log_level = "info", attach;
    std::vector<std::string> commands;
    bool check = false, dot = false, json = false, version = false;
    CaptureCli capture;
};

int complain(const ConfigScope& scope, const Error& error, int code) {
    // Several errors of a configuration file come as several lines.
    std::string_view rest = error.message;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        std::fprintf(stderr, "sluice-%s: %.*s\n", scope.role.c_str(), static_cast<int>(end),
                     rest.data());
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return code;
}

// What stands before "--" is EAL's; without one, everything is ours.
int parse(int argc, char** argv, const ConfigScope& scope, const char* description, Options& out) {
    int ours = 1;
    for (int i = 1; i < argc; ++i)
        if (std::string_view(argv[i]) == "--") {
            out.eal.assign(argv + 1, argv + i);
            ours = i + 1;
            break;
        }
    CLI::App app(description, "sluice-" + scope.role);
    app.set_version_flag("--version", std::string("sluice ") + SLUICE_VERSION);
    // dumpcap's letters mean something else there.
    const bool capture = scope.role == "capture";
    app.add_option(capture ? "--config" : "-c,--config", out.config, "configuration file (TOML)");
    app.add_flag("--check", out.check, "print what each lcore would do, and touch no device");
    app.add_flag("--dot", out.dot, "with --check: for graphviz");
    app.add_option(capture ? "--script" : "-f,--script", out.script,
                   "run the commands of this file once started");
    app.add_option("--log-level", out.log_level, "error, warning, info or debug")
        ->check(CLI::IsMember({"error", "warning", "info", "debug"}));
    if (scope.role == "console") {
        app.add_option("--attach", out.attach, "control socket of a running role");
        app.add_option("-e,--execute", out.commands, "with --attach: run this command and end")
            ->expected(1)->take_all();
        app.add_flag("--json", out.json, "with --attach: answer in JSON");
    }
    if (capture) out.capture.add_to(app);
    app.footer("EAL's arguments come first: sluice-" + scope.role +
               " -l 0,1 -- --config FILE\nWithout \"--\" all arguments are these.");
    std::vector<std::string> words(argv + ours, argv + argc);
    std::reverse(words.begin(), words.end());  // as CLI11 wants them
    try {
        app.parse(words);
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() != 0)
            return complain(scope, {EINVAL, std::string(e.what()) + " (--help lists the options)"},
                            kBadInput);
        app.exit(e);
        return -1;
    }
    return 0;
}

class Session {
  public:
    Session(const ConfigScope& scope, const Options& options, const Config& config,
            control::EventLoop& loop, control::Value disk)
        : scope_(scope), options_(options), config_(config), loop_(loop),
          disk_(std::move(disk)) {}

    Result<> run(const dp::Placement& placement) {
        SLUICE_TRY(node_, Node::create(config_, scope_, placement, loop_));
        node_->add_commands(table_);
        control::JsonServerOptions server;
        server.path = config_.socket;
        server.name = "sluice-" + scope_.role;
        SLUICE_TRY(server_, control::JsonServer::open(loop_, table_, server));
        SLUICE_TRY_VOID(node_->start());
        log::info("sluice", "ready, control socket {}", config_.socket);
        std::optional<CaptureSession> capture;
        if (node_->lanes() != nullptr)
            capture.emplace(*node_->lanes(), config_, options_.capture, loop_);
        if (!options_.capture.user.empty()) SLUICE_TRY_VOID(become_user(options_.capture.user));
        if (!options_.script.empty())
            SLUICE_TRY_VOID(control::run_script(table_, options_.script));
        if (isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0) {
            control::ConsoleOptions console;
            console.prompt = "sluice-" + scope_.role + "> ";
            console.history_file = control::default_history_file();
            SLUICE_TRY(console_, control::Console::start(loop_, table_, console));
        }
        loop_.run();
        console_.reset();
        server_.reset();
        node_->shut_down();
        if (capture && options_.capture.selftest.empty()) capture->report();
        if (capture && !options_.capture.selftest.empty())
            std::fputs(selftest_verdict(disk_, capture->result()).c_str(), stdout);
        return node_->outcome();
    }
    void on_signal(int signal) {
        if (!node_ || node_->lanes() == nullptr) return;
        if (signal == SIGHUP) node_->lanes()->rotate();
        if (signal == SIGUSR1)
            std::fprintf(stderr, "%s", control::render(node_->lanes()->show()).c_str());
    }

  private:
    const ConfigScope& scope_;
    const Options& options_;
    const Config& config_;
    control::EventLoop& loop_;
    const control::Value disk_;  // of --selftest
    control::CommandTable table_;
    std::unique_ptr<Node> node_;
    std::unique_ptr<control::JsonServer> server_;
    std::unique_ptr<control::Console> console_;
};

void set_log_level(const std::string& name) {
    for (const log::Level level :
         {log::Level::error, log::Level::warn, log::Level::info, log::Level::debug})
        if (log::to_string(level) == name) log::set_level(level);
}

constexpr int kGoOn = -1;

// --selftest: the disk's half comes before EAL; `kGoOn` if there is another half.
int begin_selftest(const ConfigScope& scope, Options& options, control::Value& disk) {
    if (options.capture.selftest.empty()) return kGoOn;
    const auto measured = options.capture.begin_selftest();
    if (!measured) return complain(scope, measured.error(), kRunFailed);
    disk = *measured;
    if (options.capture.selftest != "disk") return kGoOn;
    std::fputs(selftest_verdict(disk, {}).c_str(), stdout);
    return 0;
}

}  // namespace

int run_role(int argc, char** argv, const ConfigScope& scope, const char* description) {
    // A file that may not grow is an error of write(), not the end.
    std::signal(SIGXFSZ, SIG_IGN);
    Options options;
    if (const int code = parse(argc, argv, scope, description, options); code != 0)
        return code < 0 ? 0 : code;
    set_log_level(options.log_level);
    if (!options.attach.empty()) {
        control::AttachOptions attach;
        attach.socket = options.attach;
        attach.commands = options.commands;
        if (!options.script.empty()) attach.script = options.script;
        attach.json = options.json;
        return control::attach_main(attach);
    }
    if (!options.capture.recover.empty()) return recover_files(options.capture.recover);
    const bool by_options = options.capture.asked();
    if (by_options && !options.config.empty())
        return complain(scope, {EINVAL, "-i and --config exclude each other"}, kBadInput);
    control::Value disk;
    if (const int code = begin_selftest(scope, options, disk); code != kGoOn) return code;
    if (options.config.empty() && !options.capture.asked())
        return complain(scope,
                        {EINVAL, "no configuration: expected --config FILE after \"--\", such as "
                                 "config/" + scope.role + ".toml"},
                        kBadInput);
    auto config = options.config.empty() ? options.capture.config(scope)
                                         : load_config(options.config, scope);
    if (!config) return complain(scope, config.error(), kBadInput);
    if (!options.capture.user.empty())
        if (const auto good = check_user(options.capture.user); !good)
            return complain(scope, good.error(), kBadInput);
    auto lcores = complete_lcores(options.eal);
    if (!lcores) return complain(scope, lcores.error(), kBadInput);
    dp::Placement placement;
    placement.workers = lcores->workers;
    placement.idle = config->idle;
    placement.idle_of = config->idle_of;
    placement.mbufs_extra = config->mbufs_extra;
    auto layout = layout_of(*config, scope);
    if (!layout) return complain(scope, layout.error(), kBadInput);
    const auto plan = dp::plan(layout->graph, layout->kinds, placement);
    if (!plan) return complain(scope, plan.error(), kBadInput);
    if (options.check) {
        std::fputs((options.dot ? dp::to_dot(*plan) : dp::to_text(*plan)).c_str(), stdout);
        return 0;
    }
    // Signals are blocked before EAL makes threads, which inherit that.
    auto loop = control::EventLoop::create();
    if (!loop) return complain(scope, loop.error(), kRunFailed);
    Session* running = nullptr;
    auto signals = (*loop)->handle_signals([&loop, &running](int signal) {
        if (signal == SIGINT || signal == SIGTERM) (*loop)->stop();
        if (running != nullptr) running->on_signal(signal);
    });
    if (!signals) return complain(scope, signals.error(), kRunFailed);
    complete_eal_arguments(scope.role, options.eal);
    auto eal = Eal::start(scope.role, options.eal);
    if (!eal) return complain(scope, eal.error(), kRunFailed);
    Session session(scope, options, *config, **loop, std::move(disk));
    running = &session;
    const auto outcome = session.run(placement);
    if (!outcome) return complain(scope, outcome.error(), kRunFailed);
    return 0;
}

}  // namespace sluice::app
