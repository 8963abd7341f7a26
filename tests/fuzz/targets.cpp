#include "targets.hpp"

#include <algorithm>
#include <array>
#include <deque>

#include "base/check.hpp"
#include "shim_hv/core/data_plane.hpp"
#include "shim_hv/core/shim_hv.hpp"

namespace sluice::fuzz {

namespace vmpi = rina::vmpi;
using namespace sluice::shim_hv;
using rina::AppName;

void control(std::span<const std::byte> bytes) {
    std::array<std::byte, vmpi::kIratiMessageBytesLimit> again;
    vmpi::Message message;
    if (vmpi::parse(bytes, message) == vmpi::ParseError::none) {
        const std::size_t size = vmpi::encode(message, again);
        vmpi::Message second;
        SLUICE_CHECK(size > 0 && size <= bytes.size());
        SLUICE_CHECK(vmpi::parse(std::span(again).first(size), second) == vmpi::ParseError::none);
        SLUICE_CHECK(message == second);
    }
    vmpi::IratiMessage irati;
    if (vmpi::parse_irati(bytes, irati) == vmpi::ParseError::none) {
        const std::size_t size = vmpi::encode_irati(irati, again);
        vmpi::IratiMessage second;
        SLUICE_CHECK(size > 0 && size <= bytes.size());
        SLUICE_CHECK(vmpi::parse_irati(std::span(again).first(size), second) ==
                     vmpi::ParseError::none);
        SLUICE_CHECK(irati == second);
    }
}

namespace {

constexpr std::uint32_t kChannels = 16;

Params params_of(vmpi::Profile profile, vmpi::Role role, std::uint64_t seed) {
    Params p;
    p.profile = profile;
    p.role = role;
    p.max_channels = kChannels;
    p.max_sdu_rx = p.max_sdu_tx = 2000;
    p.seed = seed;
    return p;
}

}  // namespace

struct Device::State {
    struct End {
        End(vmpi::Profile profile, vmpi::Role role, std::uint64_t seed)
            : shim(params_of(profile, role, seed)),
              data({profile, kChannels, 2000, 2000, vmpi::kShortFrameBytes}) {}
        ShimHv shim;
        VmpiData data;
        Outbox out;
        std::deque<std::vector<std::byte>> wire;
        FlowHandle requested{};
    };

    explicit State(vmpi::Profile profile_in)
        : profile(profile_in),
          ours(profile, vmpi::Role::backend, 1),
          peer(profile, vmpi::Role::frontend, 2) {}

    vmpi::Profile profile;
    End ours;
    End peer;
    Instant now{1000000000};
    FlowHandle flow{};
    std::uint32_t channel = 0;
    std::uint32_t transaction = 0;
    std::uint64_t frames = 0;
    std::uint64_t parsed = 0;
    std::vector<std::vector<std::byte>> samples;

    void carry_out(End& end) {
        SLUICE_CHECK(end.out.actions.size() <= 4 * kChannels + 16);
        for (Action& action : end.out.actions) {
            if (const auto* a = std::get_if<SetEpochs>(&action)) end.data.set_epochs(*a);
            if (const auto* a = std::get_if<Bind>(&action)) end.data.bind(*a);
            if (const auto* a = std::get_if<Grant>(&action)) end.data.grant(*a);
            if (const auto* a = std::get_if<Unbind>(&action)) end.data.unbind(*a);
            if (auto* a = std::get_if<SendControl>(&action))
                end.wire.push_back(std::move(a->frame));
            if (const auto* a = std::get_if<FlowRequested>(&action)) end.requested = a->flow;
            if (const auto* a = std::get_if<FlowDeallocated>(&action))
                SLUICE_CHECK(flow.value == 0 || a->flow != flow);
        }
        end.out.clear();
    }

    void collect(End& end) {
        std::array<VmpiData::CreditFrame, 8> due;
        const std::size_t count = end.data.collect_due(now, due);
        for (std::size_t i = 0; i < count; ++i)
            end.wire.emplace_back(due[i].bytes.begin(), due[i].bytes.begin() + due[i].size);
    }

    void receive(End& end, std::span<const std::byte> frame) {
        const Verdict v =
            end.data.classify(frame.data(), static_cast<std::uint32_t>(frame.size()));
        end.shim.note_frame_seen(now);
        if (v.kind == VerdictKind::data) {
            SLUICE_CHECK(v.sdu_len + vmpi::kHeaderBytes <= frame.size() && v.sdu_len <= 2000);
            SLUICE_CHECK(v.channel >= 1 && v.channel <= kChannels);
            end.data.on_consumed(v.channel, v.sdu_len);
        } else if (v.kind == VerdictKind::control) {
            const auto body = frame.subspan(vmpi::kHeaderBytes);
            if (end.data.is_credit(body))
                static_cast<void>(end.data.on_credit_message(body));
            else
                end.shim.on_control(now, body, end.out);
        }
        if (!end.out.empty()) carry_out(end);
    }

    void settle() {
        for (;;) {
            collect(ours);
            collect(peer);
            const bool from_peer = !peer.wire.empty();
            End& from = from_peer ? peer : ours;
            if (from.wire.empty()) return;
            const auto frame = std::move(from.wire.front());
            from.wire.pop_front();
            if (from_peer) samples.push_back(frame);
            receive(from_peer ? ours : peer, frame);
        }
    }

    // What speaks of the living use by its full name is the peer's right.
    bool names_the_living(std::span<const std::byte> frame) const {
        if (frame.size() < 9 || vmpi::load_le32(frame.data()) != vmpi::kControlChannel)
            return false;
        const auto body = frame.subspan(vmpi::kHeaderBytes);
        if (profile == vmpi::Profile::irati) return vmpi::load_le32(body.data() + 1) == channel;
        vmpi::Message m;
        return vmpi::parse(body, m) == vmpi::ParseError::none && m.channel == channel &&
               m.generation == ours.data.entry(channel).generation &&
               (m.transaction == transaction || ours.data.is_credit(body));
    }
};

Device::Device(vmpi::Profile profile) : state_(std::make_unique<State>(profile)) {
    State& s = *state_;
    const AppName guest = *AppName::parse("guest");
    const AppName host = *AppName::parse("host");
    SLUICE_CHECK(s.peer.shim.register_app(guest).has_value());
    SLUICE_CHECK(s.ours.shim.register_app(host).has_value());
    for (State::End* end : {&s.ours, &s.peer}) {
        end->shim.link_up(s.now, end->out);
        s.carry_out(*end);
    }
    s.settle();
    // One use that ends, to have samples of every message, then the one that must live.
    for (int round = 0; round < 2; ++round) {
        const auto flow = s.peer.shim.allocate(s.now, guest, host, 0, s.peer.out);
        SLUICE_CHECK(flow.has_value());
        s.carry_out(s.peer);
        s.settle();
        const FlowHandle offered = s.ours.requested;
        SLUICE_CHECK(s.ours.shim.accept(s.now, offered, 7, s.ours.out).has_value());
        s.carry_out(s.ours);
        s.settle();
        if (round == 1) {
            s.flow = offered;
            break;
        }
        SLUICE_CHECK(s.peer.shim.deallocate(s.now, *flow, s.peer.out).has_value());
        s.carry_out(s.peer);
        s.settle();
    }
    for (const FlowInfo& flow : s.ours.shim.info().flows) {
        s.channel = flow.channel;
        s.transaction = flow.transaction;
    }
    std::vector<std::byte> data(64);
    s.peer.data.seal(data.data(), s.channel, 60);
    s.samples.push_back(data);
    if (profile == vmpi::Profile::irati) return;
    data.resize(vmpi::kShortFrameBytes);
    s.peer.data.seal(data.data(), s.channel, 3);
    s.samples.push_back(data);
}

Device::~Device() = default;

const std::vector<std::vector<std::byte>>& Device::samples() const noexcept {
    return state_->samples;
}
std::uint64_t Device::frames() const noexcept { return state_->frames; }
std::uint64_t Device::parsed() const noexcept {
    return state_->ours.shim.counters().parse_errors[0];
}

void Device::feed(std::span<const std::byte> frame) {
    State& s = *state_;
    if (s.names_the_living(frame)) return;
    ++s.frames;
    s.now = s.now + Duration::microseconds(1);
    s.receive(s.ours, frame);
    if (s.ours.requested.value > s.flow.value && s.frames % 3 == 0) {
        // An application that answers some requests, and hangs up at once.
        const FlowHandle flow = std::exchange(s.ours.requested, FlowHandle{});
        if (s.ours.shim.accept(s.now, flow, 8, s.ours.out))
            static_cast<void>(s.ours.shim.deallocate(s.now, flow, s.ours.out));
        s.carry_out(s.ours);
    }
    if (s.frames % 64 == 0) {
        if (s.ours.shim.next_deadline() <= s.now) {
            s.ours.shim.on_timeout(s.now, s.ours.out);
            s.carry_out(s.ours);
        }
        s.collect(s.ours);
        s.ours.wire.clear();
    }
}

void Device::check_undisturbed() {
    State& s = *state_;
    const DeviceInfo info = s.ours.shim.info();
    SLUICE_CHECK(info.state == DeviceState::up);
    SLUICE_CHECK(info.flows.size() <= kChannels);
    const auto is_ours = [&](const FlowInfo& flow) {
        return flow.flow == s.flow && flow.state == FlowState::allocated &&
               flow.channel == s.channel;
    };
    SLUICE_CHECK(std::any_of(info.flows.begin(), info.flows.end(), is_ours));
    const ChannelEntry& entry = s.ours.data.entry(s.channel);
    SLUICE_CHECK(entry.bound && entry.flow == s.flow.value && entry.cookie == 7);
    SLUICE_CHECK(entry.receiver.held() == 0);
    // The hostile peer may have used the credit up; a device that grants again takes more.
    std::vector<std::byte> data(64);
    s.peer.data.seal(data.data(), s.channel, 60);
    s.collect(s.ours);
    const Verdict v = s.ours.data.classify(data.data(), 64);
    SLUICE_CHECK(v.kind == VerdictKind::data && v.channel == s.channel && v.cookie == 7);
    s.ours.data.on_consumed(v.channel, v.sdu_len);
    if (s.ours.data.submit(s.channel, 60, s.now) == VmpiData::Submit::ok)
        s.ours.data.unsubmit(s.channel, 60);
    s.ours.wire.clear();
}

void device(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    Device device((bytes[0] & std::byte{1}) != std::byte{0} ? vmpi::Profile::irati
                                                            : vmpi::Profile::sluice);
    bytes = bytes.subspan(1);
    while (!bytes.empty()) {
        const std::size_t size =
            std::min(std::to_integer<std::size_t>(bytes[0]), bytes.size() - 1);
        device.feed(bytes.subspan(1, size));
        bytes = bytes.subspan(1 + size);
    }
    device.check_undisturbed();
}

}  // namespace sluice::fuzz
