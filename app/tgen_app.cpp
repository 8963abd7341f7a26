#include "app/tgen_app.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "base/log.hpp"
#include "dataplane/clock.hpp"

namespace sluice::app {
namespace {

constexpr std::uint32_t kSlots = 256;
constexpr std::size_t kRunsKept = 256;

std::uint64_t random64() {
    std::uint64_t value = 0;
    while (getrandom(&value, sizeof(value), 0) != sizeof(value)) continue;
    return value;
}

// Names the kernel instance whose TSC we read, so that two processes know whether their stamps
// can be compared.
std::uint64_t boot_hash() {
    std::string id;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
    return id.empty() ? 0 : std::hash<std::string>{}(id);
}

Instant now() { return dp::TscClock::instance().now(); }

control::Value report_value(const tgen::Report& r, bool raw) {
    control::Value v;
    v["sdus"] = r.sdus;
    v["bytes"] = r.bytes;
    v["lost"] = r.lost;
    v["reordered"] = r.reordered;
    v["duplicates"] = r.duplicates;
    v["elapsed_ns"] = r.last_ns >= r.first_ns ? r.last_ns - r.first_ns : 0;
    v["goodput_bps"] = tgen::goodput_bps(r);
    if (r.latency_count != 0) {
        v["latency_ns"] = {{"min", r.latency_min_ns},
                           {"p50", r.latency_p50_ns},
                           {"p99", r.latency_p99_ns},
                           {"max", r.latency_max_ns},
                           {"mean", r.latency_mean_ns}};
    } else {
        v["latency_ns"] = nullptr;
    }
    if (raw) v["checksum"] = fmt::format("{:016x}", r.checksum);
    return v;
}

}  // namespace

TgenApp::TgenApp(dp::Runtime& runtime, tgen::TgenStage& stage)
    : runtime_(runtime),
      stage_(stage),
      clock_{boot_hash(), dp::TscClock::instance().hz()} {}

TgenApp::~TgenApp() {
    for (auto& [id, run] : runs_) {
        if (run.flow)
            for (rte_mbuf* m : run.flow->held) rte_pktmbuf_free(m);
        close_files(run);
    }
}

void TgenApp::add_device(shim_hv::Device& device) { devices_.push_back(&device); }

shim_hv::Device* TgenApp::device(const std::string& dif) const {
    for (shim_hv::Device* d : devices_)
        if (d->name() == dif) return d;
    return nullptr;
}

Result<shim_hv::Device*> TgenApp::need_device(const std::string& dif) const {
    if (shim_hv::Device* d = device(dif)) return d;
    std::string known;
    for (const shim_hv::Device* d : devices_) known += (known.empty() ? "" : ", ") + d->name();
    return fail(ENOENT, "'{}' is no DIF here, expected one of {}", dif,
                known.empty() ? "(there is none)" : known);
}

unsigned TgenApp::outlet_of(const shim_hv::Device& d) const {
    return static_cast<unsigned>(std::find(devices_.begin(), devices_.end(), &d) -
                                 devices_.begin());
}

Result<std::uint32_t> TgenApp::free_slot() const {
    std::vector<bool> used(kSlots);
    for (const auto& [id, run] : runs_)
        if (run.flow) used[run.flow->slot] = true;
    for (std::uint32_t slot = 0; slot < kSlots; ++slot)
        if (!used[slot]) return slot;
    return fail(ENOSPC, "there are {} flows already, which is all that tgen takes", kSlots);
}

TgenApp::Run* TgenApp::by_slot(std::uint32_t slot) {
    for (auto& [id, run] : runs_)
        if (run.flow && run.flow->slot == slot) return &run;
    return nullptr;
}

TgenApp::Run* TgenApp::by_handle(const shim_hv::Device& d, shim_hv::FlowHandle handle) {
    for (auto& [id, run] : runs_)
        if (run.device == &d && run.handle == handle &&
            (run.state == State::open || run.state == State::allocating))
            return &run;
    return nullptr;
}

TgenApp::Run* TgenApp::by_flow(const tgen::TgenFlow* flow) {
    for (auto& [id, run] : runs_)
        if (run.flow && run.flow.get() == flow) return &run;
    return nullptr;
}

Result<TgenApp::Run*> TgenApp::need_run(std::uint32_t id) {
    const auto found = runs_.find(id);
    if (found == runs_.end())
        return fail(ENOENT, "there is no flow or run {}; 'show tgen all' lists them", id);
    return &found->second;
}

Result<> TgenApp::register_server(const std::string& name, const std::string& dif,
                                  const std::string& out_dir, std::uint64_t out_bytes_max) {
    SLUICE_TRY(shim_hv::Device* const d, need_device(dif));
    SLUICE_TRY(const rina::AppName parsed, rina::AppName::parse(name));
    if (!out_dir.empty() && access(out_dir.c_str(), W_OK) != 0)
        return fail(errno, "application '{}': cannot write into out_dir {}: {}", name, out_dir,
                    std::strerror(errno));
    SLUICE_TRY_VOID(d->register_app(parsed));
    servers_.push_back({parsed.to_string(), dif, out_dir, out_bytes_max});
    return {};
}

Result<> TgenApp::unregister_server(const std::string& name, const std::string& dif) {
    SLUICE_TRY(shim_hv::Device* const d, need_device(dif));
    SLUICE_TRY(const rina::AppName parsed, rina::AppName::parse(name));
    SLUICE_TRY_VOID(d->unregister_app(now(), parsed));
    std::erase_if(servers_, [&](const Server& s) {
        return s.name == parsed.to_string() && s.dif == dif;
    });
    return {};
}

const TgenApp::Server* TgenApp::server_of(const std::string& name, const std::string& dif) const {
    for (const Server& s : servers_)
        if (s.name == name && s.dif == dif) return &s;
    return nullptr;
}

Result<std::uint32_t> TgenApp::open(const std::string& dif, const std::string& source,
                                    const std::string& destination,
                                    std::unique_ptr<tgen::TgenFlow> flow, Kind kind, void* input,
                                    std::size_t input_size) {
    SLUICE_TRY(shim_hv::Device* const d, need_device(dif));
    SLUICE_TRY(const rina::AppName from, rina::AppName::parse(source));
    SLUICE_TRY(const rina::AppName to, rina::AppName::parse(destination));
    SLUICE_TRY(flow->slot, free_slot());
    flow->outlet = outlet_of(*d);
    const std::uint32_t cookie = shim_hv::flow_cookie(0, flow->slot);
    forget_old();
    const std::uint32_t id = next_id_++;
    Run& run = runs_[id];
    run.id = id;
    run.kind = kind;
    run.device = d;
    run.source = from.to_string();
    run.destination = to.to_string();
    run.flow = std::move(flow);
    run.input = input;
    run.input_size = input_size;
    const auto handle = d->allocate(now(), from, to, cookie);
    if (!handle) {
        run.input = nullptr;  // the caller unmaps it
        runs_.erase(id);
        return fail(handle.error());
    }
    run.handle = *handle;
    return id;
}

Result<std::uint32_t> TgenApp::start_run(const std::string& dif, const std::string& source,
                                         const std::string& destination,
                                         const std::vector<std::string>& words) {
    SLUICE_TRY(const tgen::Spec spec, tgen::parse_spec(words));
    SLUICE_TRY(shim_hv::Device* const d, need_device(dif));
    const std::uint32_t limit = d->shim().limits().max_sdu_tx;
    if (limit != 0 && spec.sizes.to > limit && spec.file.empty())
        return fail(EMSGSIZE, "SDUs of {} bytes are too long, {} takes at most {}", spec.sizes.to,
                    dif, limit);
    tgen::ClientSettings settings = tgen::settings_of(spec);
    if (const std::uint32_t least = d->shim().limits().min_sdu_tx; settings.sizes.from < least)
        return fail(EMSGSIZE,
                    "SDUs of {} bytes are too short: profile irati carries at least {} towards a "
                    "virtio driver", settings.sizes.from, least);
    settings.nonce = random64();
    settings.clock = clock_;
    if (!spec.file.empty() && limit != 0 && settings.sizes.to > limit)
        return fail(EMSGSIZE, "SDUs of {} bytes are too long, {} takes at most {}",
                    settings.sizes.to, dif, limit);
    void* input = nullptr;
    std::size_t size = 0;
    if (!spec.file.empty()) {
        const int fd = ::open(spec.file.c_str(), O_RDONLY | O_CLOEXEC);
        struct stat info {};
        if (fd < 0 || fstat(fd, &info) != 0) {
            const int code = errno;
            if (fd >= 0) close(fd);
            return fail(code, "cannot read {}: {}", spec.file, std::strerror(code));
        }
        size = static_cast<std::size_t>(info.st_size);
        if (!S_ISREG(info.st_mode) || size == 0) {
            close(fd);
            return fail(EINVAL, "{} is to be sent, expected a regular file that is not empty",
                        spec.file);
        }
        // Read in ahead: an lcore must not wait for the disk.
        input = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
        const int code = errno;
        close(fd);
        if (input == MAP_FAILED)
            return fail(code, "cannot map {}: {}", spec.file, std::strerror(code));
        settings.data = {static_cast<const std::byte*>(input), size};
    }
    auto flow = std::make_unique<tgen::TgenFlow>();
    flow->client.emplace(settings);
    auto id = open(dif, source, destination, std::move(flow), Kind::client, input, size);
    if (!id && input != nullptr) munmap(input, size);
    return id;
}

Result<std::uint32_t> TgenApp::allocate(const std::string& dif, const std::string& source,
                                        const std::string& destination) {
    auto flow = std::make_unique<tgen::TgenFlow>();
    flow->server.emplace(clock_);
    return open(dif, source, destination, std::move(flow), Kind::idle, nullptr, 0);
}

void TgenApp::post(tgen::TgenMail type, tgen::TgenFlow& flow, std::uint32_t arg, std::uint64_t a,
                   std::uint64_t b) {
    dp::Mail mail;
    mail.to = &stage_;
    mail.type = static_cast<std::uint32_t>(type);
    mail.arg = arg;
    mail.words[0] = a;
    mail.words[1] = b;
    mail.pointer = &flow;
    // Mailboxes hold far more than there are flows; the lcore empties them all the time.
    while (!runtime_.post(mail)) usleep(100);
}

// ---- events of the devices -----------------------------------------------------------------

void TgenApp::on_flow_requested(shim_hv::Device& d, const shim_hv::FlowRequested& event) {
    const std::string destination = event.destination.to_string();
    const Server* server = server_of(destination, d.name());
    const auto slot = free_slot();
    if (server == nullptr || !slot) {
        static_cast<void>(d.refuse(now(), event.flow,
                                   server == nullptr ? rina::Reason::no_such_application
                                                     : rina::Reason::busy));
        return;
    }
    forget_old();
    const std::uint32_t id = next_id_++;
    Run& run = runs_[id];
    run.id = id;
    run.kind = Kind::server;
    run.device = &d;
    run.handle = event.flow;
    run.source = event.source.to_string();
    run.destination = destination;
    run.flow = std::make_unique<tgen::TgenFlow>();
    run.flow->slot = *slot;
    run.flow->outlet = outlet_of(d);
    run.flow->server.emplace(clock_);
    run.flow->wants_file = !server->out_dir.empty();
    if (const auto ok = d.accept(now(), event.flow, shim_hv::flow_cookie(0, *slot)); !ok)
        finish(run, State::failed, ok.error().message);
}

void TgenApp::on_flow_bound(shim_hv::Device& d, const shim_hv::FlowBound& event) {
    Run* run = by_slot(shim_hv::slot_of(event.cookie));
    if (run == nullptr || !run->flow) {
        d.released(event.gate);
        return;
    }
    run->channel = event.channel;
    tgen::TgenFlow& flow = *run->flow;
    flow.channel = event.channel;
    flow.max_sdu = event.max_sdu;
    flow.gate = event.gate;
    // The whole window may have to wait in here.
    if (flow.server)
        flow.held.reserve(std::max<std::size_t>(2 * d.shim().params().window, 4096));
    run->attached = true;
    post(tgen::TgenMail::attach, flow);
}

void TgenApp::on_flow_allocated(shim_hv::Device& d, const shim_hv::FlowAllocated& event) {
    Run* run = by_slot(shim_hv::slot_of(event.cookie));
    if (run == nullptr || !run->attached) {
        static_cast<void>(d.deallocate(now(), event.flow));
        return;
    }
    run->handle = event.flow;
    run->state = State::open;
    if (run->flow->client && run->flow->client->settings().sizes.to > event.max_sdu) {
        static_cast<void>(d.deallocate(now(), event.flow));
        finish(*run, State::failed,
               fmt::format("SDUs of {} bytes are too long, {} takes at most {}",
                           run->flow->client->settings().sizes.to, d.name(), event.max_sdu));
        return;
    }
    post(tgen::TgenMail::usable, *run->flow);
}

void TgenApp::on_flow_failed(shim_hv::Device& d, const shim_hv::FlowFailed& event) {
    Run* run = by_handle(d, event.flow);
    if (run == nullptr) {
        // It failed before allocate() had returned its handle.
        run = by_slot(shim_hv::slot_of(event.cookie));
        if (run != nullptr && run->handle != shim_hv::FlowHandle{}) run = nullptr;
    }
    if (run != nullptr) finish(*run, State::failed, rina::to_string(event.reason));
}

void TgenApp::on_flow_deallocated(shim_hv::Device& d, const shim_hv::FlowDeallocated& event) {
    Run* run = by_handle(d, event.flow);
    if (run == nullptr) return;
    if (run->kind == Kind::client && run->attached && run->flow)
        post(tgen::TgenMail::closed, *run->flow);
    finish(*run, State::closed, rina::to_string(event.reason));
}

// The flow is no more; its stage gives the rest back.
void TgenApp::finish(Run& run, State state, std::string_view why) {
    run.state = state;
    run.ended = std::string(why);
    detach(run);
}

void TgenApp::detach(Run& run) {
    if (!run.flow) return;
    if (run.attached) {
        run.attached = false;
        post(tgen::TgenMail::detach, *run.flow);
        return;
    }
    // Never reached an lcore, or its detach is under way.
    if (run.flow->gate == nullptr) {
        run.flow.reset();
        close_files(run);
    }
}

// ---- events of the stage -------------------------------------------------------------------

void TgenApp::on_punt(const dp::PuntItem& item) {
    auto* const flow = reinterpret_cast<tgen::TgenFlow*>(item.words[0]);
    Run* run = by_flow(flow);
    if (run == nullptr) return;
    switch (item.type) {
        case tgen::kPuntTgenOver:
            run->last = flow->progress.read();
            if (run->state == State::open) {
                static_cast<void>(run->device->deallocate(now(), run->handle));
                finish(*run, State::closed, "finished");
            }
            break;
        case tgen::kPuntTgenRunStart: open_output(*run, item.words[1]); break;
        case tgen::kPuntTgenRunEnd: run->last = flow->progress.read(); break;
        case tgen::kPuntTgenDetached:
            run->last = flow->progress.read();
            if (flow->gate != nullptr) run->device->released(flow->gate);
            if (run->output != nullptr && run->output_fd >= 0 &&
                ftruncate(run->output_fd, static_cast<off_t>(flow->file_used)) != 0)
                log::warn("tgen", "cannot cut {}: {}", run->out_file, std::strerror(errno));
            run->flow.reset();
            close_files(*run);
            break;
        default: break;
    }
}

void TgenApp::open_output(Run& run, std::uint64_t announced) {
    const Server* server = server_of(run.destination, run.device->name());
    const auto none = [&](const std::string& why) {
        log::warn("tgen", "flow {}: its stream is not written to a file: {}", run.id, why);
        post(tgen::TgenMail::file, *run.flow);
    };
    if (server == nullptr || announced == 0) return none("no length was announced");
    if (announced > server->out_bytes_max)
        return none(fmt::format("{} bytes announced, out_bytes_max is {}", announced,
                                server->out_bytes_max));
    run.out_file = fmt::format("{}/{}.raw", server->out_dir, run.id);
    run.output_fd =
        ::open(run.out_file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (run.output_fd < 0) return none(run.out_file + ": " + std::strerror(errno));
    // Room is taken now: a full disk is an error here rather than a signal on the lcore.
    const int refused = posix_fallocate(run.output_fd, 0, static_cast<off_t>(announced));
    if (refused != 0) return none(run.out_file + ": " + std::strerror(refused));
    void* const at = mmap(nullptr, announced, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                          run.output_fd, 0);
    if (at == MAP_FAILED) return none(run.out_file + ": " + std::strerror(errno));
    run.output = at;
    run.output_size = announced;
    post(tgen::TgenMail::file, *run.flow, 0, reinterpret_cast<std::uintptr_t>(at), announced);
}

void TgenApp::close_files(Run& run) {
    if (run.input != nullptr) munmap(run.input, run.input_size);
    if (run.output != nullptr) munmap(run.output, run.output_size);
    if (run.output_fd >= 0) close(run.output_fd);
    run.input = run.output = nullptr;
    run.output_fd = -1;
}

// ---- commands --------------------------------------------------------------------------------

Result<> TgenApp::stop_run(std::uint32_t id) {
    SLUICE_TRY(Run* const run, need_run(id));
    if (run->kind != Kind::client)
        return fail(EINVAL, "{} is no client run: 'deallocate flow {}' ends the flow", id, id);
    if (run->state == State::allocating) return deallocate(id);
    if (run->attached) post(tgen::TgenMail::stop, *run->flow);
    return {};
}

Result<> TgenApp::deallocate(std::uint32_t id) {
    SLUICE_TRY(Run* const run, need_run(id));
    if (run->state != State::open && run->state != State::allocating)
        return fail(ENOTCONN, "flow {} has ended already: {}", id, run->ended);
    SLUICE_TRY_VOID(run->device->deallocate(now(), run->handle));
    finish(*run, State::closed, rina::to_string(rina::Reason::closed_locally));
    return {};
}

Result<> TgenApp::set_reading(std::optional<std::uint32_t> id, bool on) {
    if (id) {
        SLUICE_TRY(Run* const run, need_run(*id));
        if (!run->attached || !run->flow->server)
            return fail(EINVAL, "{} is no open flow that receives", *id);
    }
    for (auto& [number, run] : runs_)
        if ((!id || *id == number) && run.attached && run.flow->server)
            post(tgen::TgenMail::reading, *run.flow, on ? 1 : 0);
    return {};
}

void TgenApp::forget_old() {
    for (auto it = runs_.begin(); runs_.size() >= kRunsKept && it != runs_.end();) {
        const bool over = it->second.state == State::closed || it->second.state == State::failed;
        if (over && !it->second.flow)
            it = runs_.erase(it);
        else
            ++it;
    }
}

control::Value TgenApp::show(const Run& run) const {
    const tgen::Progress p = run.flow && run.attached ? run.flow->progress.read() : run.last;
    control::Value v;
    v["run"] = run.id;
    v["role"] = run.kind == Kind::client ? "client" : "server";
    v["dif"] = run.device->name();
    v["source"] = run.source;
    v["destination"] = run.destination;
    const bool failed_early = run.state == State::failed;
    if (run.kind == Kind::client) {
        const bool waiting = run.state == State::allocating;
        v["state"] = failed_early ? "failed"
                     : waiting    ? "starting"
                                  : std::string(tgen::to_string(p.client_state));
        v["failure"] = failed_early ? run.ended
                       : p.failure == tgen::ClientFailure::none
                           ? ""
                           : std::string(tgen::to_string(p.failure)) +
                                 (run.ended.empty() ? "" : ": " + run.ended);
        v["sdus_sent"] = p.sdus;
        v["bytes_sent"] = p.bytes;
    } else {
        v["state"] = run.state == State::open || run.state == State::allocating
                         ? std::string(tgen::to_string(p.server_state))
                         : "closed";
        v["failure"] = failed_early ? run.ended : "";
        v["sdus_received"] = p.sdus;
        v["bytes_received"] = p.bytes;
        if (!run.out_file.empty()) v["file"] = run.out_file;
    }
    if (p.have_report)
        v["report"] = report_value(p.report, p.raw);
    else
        v["report"] = nullptr;
    return v;
}

control::Value TgenApp::show_runs(std::optional<std::uint32_t> id) const {
    control::Value rows = control::Value::array();
    for (const auto& [number, run] : runs_)
        if (run.kind != Kind::idle && (!id || *id == number)) rows.push_back(show(run));
    return rows;
}

control::Value TgenApp::show_flows() const {
    control::Value rows = control::Value::array();
    for (const auto& [id, run] : runs_) {
        control::Value v;
        v["flow"] = id;
        v["dif"] = run.device->name();
        v["source"] = run.source;
        v["destination"] = run.destination;
        v["channel"] = run.channel;
        v["state"] = run.state == State::allocating ? "allocating"
                     : run.state == State::open     ? "allocated"
                                                    : "ended";
        v["reason"] = run.ended;
        rows.push_back(v);
    }
    return rows;
}

control::Value TgenApp::show_apps() const {
    control::Value rows = control::Value::array();
    for (const Server& s : servers_) {
        control::Value v;
        v["name"] = s.name;
        v["dif"] = s.dif;
        v["kind"] = "tgen";
        v["out_dir"] = s.out_dir;
        rows.push_back(v);
    }
    return rows;
}

std::vector<std::string> TgenApp::run_ids() const {
    std::vector<std::string> ids;
    for (const auto& [id, run] : runs_) ids.push_back(std::to_string(id));
    return ids;
}

std::size_t TgenApp::open_flows() const noexcept {
    return static_cast<std::size_t>(std::count_if(
        runs_.begin(), runs_.end(), [](const auto& r) { return r.second.flow != nullptr; }));
}

}  // namespace sluice::app
