#include "shim_hv_link.hpp"

#include <fmt/format.h>

namespace sluice::sim {

namespace {

namespace vmpi = rina::vmpi;
using shim_hv::FlowHandle;

constexpr Duration kMailbox = Duration::microseconds(10);  // from the control thread to the lcore
constexpr Duration kPunt = Duration::microseconds(30);     // and back
constexpr std::size_t kBacklogMax = 256;

}  // namespace

// ---- a side ----

class ShimHvLink::Side final : public ShimEnd {
  public:
    Side(ShimHvLink& link, std::size_t side) : ShimEnd(link.env_, link.dif_), link_(link) {
        side_ = side;
        params_.role = side == 0 ? vmpi::Role::backend : vmpi::Role::frontend;
        if (env_.rng.chance(0.3)) params_.role = vmpi::Role::alike;
        params_.max_channels = static_cast<std::uint32_t>(env_.rng.between(2, 64));
        params_.window = env_.rng.between(1, 256);
    }
    ~Side() { power_off(); }

    void set_link(bool up) {
        if (shim_ == nullptr) return;
        if (up)
            shim_->link_up(env_.now(), out_);
        else
            shim_->link_down(env_.now(), out_);
        settle();
    }

    bool is_ready() const noexcept {
        return shim_ != nullptr && shim_->state() == shim_hv::DeviceState::up;
    }

    // On the lcore that owns the device.
    void receive(Bytes frame) {
        if (shim_ == nullptr) return;
        shim_->note_frame_seen(env_.now());
        const auto size = static_cast<std::uint32_t>(frame.size());
        const shim_hv::Verdict v = data_->classify(frame.data(), size);
        env_.trace.note(env_.now(), dif(), side_, size, static_cast<std::uint64_t>(v.kind),
                        static_cast<std::uint64_t>(v.reason));
        if (v.kind == shim_hv::VerdictKind::drop) {
            ++drops_[static_cast<std::size_t>(v.reason)];
        } else if (v.kind == shim_hv::VerdictKind::data) {
            const auto from = frame.begin() + vmpi::kHeaderBytes;
            take(PortId{v.cookie}, {from, from + v.sdu_len});
            // The user is done with it, or has left.
            if (data_ != nullptr) data_->on_consumed(v.channel, v.sdu_len);
        } else {
            control(std::move(frame));
        }
        poll();
    }

    // What is due on the lcore: control that waited, credit, and who can write again.
    void poll() {
        if (shim_ == nullptr) return;
        Ring& ring = link_.rings_[side_];
        while (!ring.backlog.empty() && link_.push(side_, ring.backlog.front(), true))
            ring.backlog.pop_front();
        std::array<shim_hv::VmpiData::CreditFrame, 4> due;
        for (std::size_t count = due.size(); count == due.size();) {
            count = data_->collect_due(env_.now(), due);
            for (std::size_t i = 0; i < count; ++i)
                push_control({due[i].bytes.begin(), due[i].bytes.begin() + due[i].size});
        }
        for (const PortId flow : flows_that_wait())
            if (const auto at = channels_.find(flow);
                at == channels_.end() ||
                (link_.has_room(side_) && data_->has_credit(at->second, data_->max_sdu_tx())))
                wake(flow);
        settle();
    }

    std::string report() const {
        std::string out = fmt::format("  {} side {}:", dif(), side_);
        for (std::size_t i = 1; i < drops_.size(); ++i)
            if (drops_[i] != 0)
                out += fmt::format(" {} {}", to_string(static_cast<shim_hv::VmpiDrop>(i)),
                                   drops_[i]);
        for (const PortId flow : flows_that_wait()) {
            const auto at = channels_.find(flow);
            out += fmt::format(" flow {} waits", flow.value);
            if (at != channels_.end())
                out += fmt::format(" for credit ({} units)",
                                   data_->entry(at->second).sender.available());
        }
        return out + fmt::format(" up {} down {}, {} of {} buffers free\n", ups_, downs_,
                                 link_.rings_[side_].free, link_.rings_[side_].capacity);
    }

  protected:
    void core_start() override {
        params_.seed = env_.rng.next();
        shim_ = std::make_unique<shim_hv::ShimHv>(params_);
        data_ = std::make_unique<shim_hv::VmpiData>(shim_hv::VmpiData::Params{
            params_.profile, params_.max_channels, params_.max_sdu_rx, params_.max_sdu_tx,
            params_.min_frame_tx});
    }
    void core_stop() override {
        shim_.reset();
        data_.reset();
        out_.clear();
        channels_.clear();
    }
    void core_register(const rina::AppName& name) override {
        if (auto done = shim_->register_app(name); !done)
            env_.verdicts.fail("config", done.error().message);
    }
    void core_unregister(const rina::AppName& name) override {
        static_cast<void>(shim_->unregister_app(env_.now(), name, out_));
    }
    Result<PortId> core_allocate(const rina::AppName& local, const rina::AppName& remote,
                                 std::uint32_t cookie) override {
        SLUICE_TRY(const auto flow, shim_->allocate(env_.now(), local, remote, cookie, out_));
        return PortId{flow.value};
    }
    Result<> core_accept(PortId flow) override {
        return shim_->accept(env_.now(), FlowHandle{flow.value}, 0, out_);
    }
    void core_refuse(PortId flow) override {
        static_cast<void>(shim_->refuse(env_.now(), FlowHandle{flow.value},
                                        rina::Reason::no_such_application, out_));
    }
    void core_deallocate(PortId flow) override {
        static_cast<void>(shim_->deallocate(env_.now(), FlowHandle{flow.value}, out_));
    }
    void core_timeout() override {
        if (shim_->next_deadline() <= env_.now()) shim_->on_timeout(env_.now(), out_);
        poll();
    }
    Instant core_deadline() const override {
        if (shim_ == nullptr) return Instant::never();
        return std::min(shim_->next_deadline(), data_->next_deadline());
    }

    void carry_out() override {
        for (shim_hv::Action& action : std::exchange(out_.actions, {})) {
            if (auto* r = std::get_if<shim_hv::FlowRequested>(&action)) {
                on_requested(PortId{r->flow.value}, r->destination, r->source);
            } else if (auto* a = std::get_if<shim_hv::FlowAllocated>(&action)) {
                on_allocated(PortId{a->flow.value}, a->cookie);
            } else if (auto* f = std::get_if<shim_hv::FlowFailed>(&action)) {
                on_failed(PortId{f->flow.value}, f->cookie, std::string(to_string(f->reason)));
            } else if (auto* d = std::get_if<shim_hv::FlowDeallocated>(&action)) {
                on_down(PortId{d->flow.value});
            } else if (std::get_if<shim_hv::DeviceUp>(&action) != nullptr) {
                ++ups_;
            } else if (std::get_if<shim_hv::DeviceDown>(&action) != nullptr) {
                ++downs_;
            } else {
                later(kMailbox, [this, action = std::move(action)] { on_lcore(action); });
            }
        }
    }

    bool has_room(PortId flow) override {
        const auto at = channels_.find(flow);
        if (at == channels_.end()) return true;  // into the void
        if (!link_.has_room(side_)) return false;
        // Asking is what makes the sender ask its peer when a grant was lost.
        const std::uint32_t longest = data_->max_sdu_tx();
        const auto answer = data_->submit(at->second, longest, env_.now());
        if (answer == shim_hv::VmpiData::Submit::ok) data_->unsubmit(at->second, longest);
        return answer != shim_hv::VmpiData::Submit::no_credit;
    }

    void send(PortId flow, const Bytes& sdu) override {
        const auto at = channels_.find(flow);
        if (at == channels_.end()) return env_.drop(DropReason::no_flow);
        const auto size = static_cast<std::uint32_t>(sdu.size());
        const auto answer = data_->submit(at->second, size, env_.now());
        if (answer == shim_hv::VmpiData::Submit::too_long) return env_.drop(DropReason::too_long);
        if (answer != shim_hv::VmpiData::Submit::ok) return env_.drop(DropReason::no_credit);
        Bytes frame(data_->frame_bytes(size));
        std::copy(sdu.begin(), sdu.end(), frame.begin() + vmpi::kHeaderBytes);
        data_->seal(frame.data(), at->second, size);
        link_.push(side_, std::move(frame), false);
    }

  private:
    void control(Bytes frame) {
        const auto body = [](const Bytes& f) {
            return std::span<const std::byte>(f).subspan(vmpi::kHeaderBytes);
        };
        if (data_->is_credit(body(frame))) {
            ++drops_[static_cast<std::size_t>(data_->on_credit_message(body(frame)))];
            return;
        }
        later(kPunt, [this, frame = std::move(frame), body] {
            shim_->on_control(env_.now(), body(frame), out_);
            settle();
        });
    }

    void push_control(Bytes frame) {
        if (!link_.is_linked_) return;
        Ring& ring = link_.rings_[side_];
        if (ring.backlog.empty() && link_.push(side_, frame, true)) return;
        if (ring.backlog.size() < kBacklogMax) ring.backlog.push_back(std::move(frame));
    }

    void on_lcore(const shim_hv::Action& action) {
        if (const auto* epochs = std::get_if<shim_hv::SetEpochs>(&action)) {
            data_->set_epochs(*epochs);
        } else if (const auto* bind = std::get_if<shim_hv::Bind>(&action)) {
            shim_hv::Bind ours = *bind;
            ours.cookie = bind->flow.value;
            data_->bind(ours);
            channels_[PortId{bind->flow.value}] = bind->channel;
        } else if (const auto* grant = std::get_if<shim_hv::Grant>(&action)) {
            data_->grant(*grant);
        } else if (const auto* unbind = std::get_if<shim_hv::Unbind>(&action)) {
            data_->unbind(*unbind);
            channels_.erase(PortId{unbind->flow.value});
        } else if (const auto* send = std::get_if<shim_hv::SendControl>(&action)) {
            push_control(send->frame);
        }
        poll();
    }

    ShimHvLink& link_;
    std::size_t side_ = 0;
    shim_hv::Params params_;
    shim_hv::Outbox out_;
    std::unique_ptr<shim_hv::ShimHv> shim_;
    std::unique_ptr<shim_hv::VmpiData> data_;
    std::map<PortId, std::uint32_t> channels_;
    std::array<std::uint64_t, shim_hv::kVmpiDropCount> drops_{};
    std::uint64_t ups_ = 0, downs_ = 0;
};

// ---- the rings ----

ShimHvLink::ShimHvLink(Env& env, std::string dif, const link_model::Config& config, bool is_lossy)
    : env_(env), dif_(std::move(dif)), is_lossy_(is_lossy) {
    const std::size_t capacity = std::size_t{8} << env.rng.below(6);
    for (std::size_t side = 0; side < 2; ++side) {
        rings_[side].capacity = rings_[side].free = capacity;
        sides_[side] = std::make_unique<Side>(*this, side);
    }
    set_config(config);
}

ShimHvLink::~ShimHvLink() = default;

Provider& ShimHvLink::end(std::size_t side) { return *sides_[side]; }

void ShimHvLink::set_config(const link_model::Config& config) {
    link_model::Config c = config;
    if (!is_lossy_) {
        c.loss = {};
        c.duplicate = 0;
        c.reorder = {};
    }
    for (Ring& ring : rings_) ring.model.set_config(c);
}

bool ShimHvLink::push(std::size_t from, Bytes frame, bool is_control) {
    Ring& ring = rings_[from];
    if (ring.free == 0 || (!is_control && ring.free <= kForControl)) return false;
    const link_model::LinkVerdict v = ring.model.apply(env_.now(), env_.rng, frame.size());
    for (std::uint8_t i = 0; i < v.copies && ring.free > 0; ++i) {
        --ring.free;
        ++env_.under_way;
        const PduToken token = env_.buffers.make(frame);
        env_.clock.at(v.at[i], [this, from, token, epoch = ring.epoch] {
            arrive(from, epoch, token);
        });
    }
    return true;
}

void ShimHvLink::arrive(std::size_t from, std::uint64_t epoch, PduToken token) {
    if (epoch != rings_[from].epoch) {  // of rings that are no more
        --env_.under_way;
        return env_.buffers.free(token);
    }
    if (!reads_[1 - from] || !sides_[1 - from]->is_on())
        rings_[from].waiting.push_back(token);
    else
        read(from, token);
}

void ShimHvLink::read(std::size_t from, PduToken token) {
    --env_.under_way;
    ++rings_[from].free;
    if (rings_[from].free > rings_[from].capacity)
        env_.verdicts.fail("tokens", "a ring got back more buffers than it had");
    sides_[1 - from]->receive(env_.buffers.take(token));
    sides_[from]->poll();  // there is room again
}

// Those that are still to arrive find that they are of an earlier epoch.
void ShimHvLink::flush_rings() {
    for (Ring& ring : rings_) {
        ++ring.epoch;
        ring.free = ring.capacity;
        ring.backlog.clear();
        for (const PduToken token : std::exchange(ring.waiting, {})) {
            --env_.under_way;
            env_.buffers.free(token);
        }
    }
}

void ShimHvLink::set_reading(std::size_t side, bool reads) {
    reads_[side] = reads;
    if (!reads || !sides_[side]->is_on()) return;
    for (const PduToken token : std::exchange(rings_[1 - side].waiting, {})) read(1 - side, token);
}

void ShimHvLink::tell_link() {
    const bool linked = !is_cut_ && !is_dark_[0] && !is_dark_[1];
    if (linked == is_linked_) return;
    is_linked_ = linked;
    if (!linked) flush_rings();
    for (const auto& side : sides_) side->set_link(linked);
}

void ShimHvLink::cut(std::size_t, std::size_t, bool silently) {
    if (silently) {
        for (std::size_t side = 0; side < 2; ++side) set_reading(side, false);
        return;
    }
    is_cut_ = true;
    tell_link();
}

void ShimHvLink::mend(std::size_t, std::size_t) {
    is_cut_ = false;
    tell_link();
    for (std::size_t side = 0; side < 2; ++side) set_reading(side, true);
}

bool ShimHvLink::is_up(std::size_t, std::size_t) const {
    return is_linked_ && reads_[0] && reads_[1] && sides_[0]->is_ready() && sides_[1]->is_ready();
}

void ShimHvLink::power_off(std::size_t side, bool silently) {
    sides_[side]->power_off();
    is_dark_[side] = !silently;
    tell_link();
}

// Whoever starts sets up its rings anew.
void ShimHvLink::power_on(std::size_t side) {
    flush_rings();
    const bool was_linked = is_linked_;
    is_dark_[side] = false;
    sides_[side]->power_on();
    tell_link();
    if (was_linked) sides_[side]->set_link(true);
}

void ShimHvLink::disturb() {
    set_reading(1, false);
    env_.clock.after(
        Duration::milliseconds(static_cast<std::int64_t>(env_.rng.between(1, 8000))),
        [this] { set_reading(1, true); });
}

std::string ShimHvLink::report() const {
    std::string out;
    for (const auto& side : sides_) out += side->report();
    return out;
}

}  // namespace sluice::sim
