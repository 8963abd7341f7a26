#include "shim_eth_segment.hpp"

#include <fmt/format.h>

namespace sluice::sim {

namespace {

constexpr std::size_t kFrameMin = 60;        // without the check sequence (IEEE 802.3, 3.2.7)
constexpr std::size_t kAround = 24;          // preamble, check sequence and gap

}  // namespace

// ---- the switch ----

std::size_t EthSwitch::add_card() {
    cards_.emplace_back();
    cards_.back().model.set_config(config_);
    told_.push_back(true);
    return cards_.size() - 1;
}

void EthSwitch::attach(std::size_t card, Receive receive, SetLink set_link) {
    cards_[card].shims.push_back({std::move(receive), std::move(set_link)});
}

rina::MacAddress EthSwitch::draw_address(const rina::MacAddress& former) {
    const auto is_free = [this](const rina::MacAddress& mac) {
        return shim_eth::key_of(mac) != 0 &&
               std::none_of(cards_.begin(), cards_.end(), [&mac](const Card& card) {
                   return card.powered != 0 && card.mac == mac;
               });
    };
    if (is_free(former) && env_.rng.chance(0.5)) return former;
    if (!retired_.empty() && env_.rng.chance(0.4)) {
        const rina::MacAddress& other = retired_[env_.rng.below(retired_.size())];
        if (is_free(other)) return other;
    }
    const std::uint32_t n = next_address_++;
    return {2, 0, 0, 0, static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n)};
}

const rina::MacAddress& EthSwitch::power_on(std::size_t at) {
    Card& card = cards_[at];
    if (card.powered == 0) {
        const rina::MacAddress mac = draw_address(card.mac);
        if (mac != card.mac && shim_eth::key_of(card.mac) != 0) retired_.push_back(card.mac);
        card.mac = mac;
    }
    ++card.powered;
    card.is_dark = false;
    tell_links();
    return card.mac;
}

void EthSwitch::power_off(std::size_t at, bool silently) {
    Card& card = cards_[at];
    --card.powered;
    card.is_dark = !silently;
    tell_links();
}

bool EthSwitch::has_link(std::size_t at) const {
    if (!cards_[at].is_plugged) return false;
    // Behind a switch nobody sees what happens at another port.
    return !is_cable_ ||
           std::all_of(cards_.begin(), cards_.end(),
                       [](const Card& card) { return card.is_plugged && !card.is_dark; });
}

void EthSwitch::tell_links() {
    for (std::size_t i = 0; i < cards_.size(); ++i) {
        const bool up = has_link(i);
        if (told_[i] == up) continue;
        told_[i] = up;
        for (const auto& [receive, set_link] : cards_[i].shims) set_link(up);
    }
}

void EthSwitch::set_config(const link_model::Config& config) {
    config_ = config;
    for (Card& card : cards_) card.model.set_config(config);
}

void EthSwitch::cut(std::size_t a, std::size_t b, bool silently) {
    if (silently)
        blocked_.insert(std::minmax(a, b));
    else
        cards_[b].is_plugged = false;
    tell_links();
}

void EthSwitch::mend(std::size_t a, std::size_t b) {
    blocked_.erase(std::minmax(a, b));
    cards_[a].is_plugged = cards_[b].is_plugged = true;
    tell_links();
}

bool EthSwitch::may_pass(std::size_t from, std::size_t to) const {
    return has_link(to) && !blocked_.contains(std::minmax(from, to));
}

bool EthSwitch::is_up(std::size_t a, std::size_t b) const {
    return has_link(a) && may_pass(a, b);
}

Duration EthSwitch::full_for(std::size_t card) const {
    return ring_full_for(cards_[card].model, env_.now());
}

void EthSwitch::send(std::size_t at, Bytes frame) {
    if (!has_link(at)) return;
    if (frame.size() < kFrameMin) frame.resize(kFrameMin);
    ++frames;
    const link_model::LinkVerdict v =
        cards_[at].model.apply(env_.now(), env_.rng, frame.size() + kAround);
    for (std::uint8_t i = 0; i < v.copies; ++i) {
        const PduToken token = env_.buffers.make(frame);
        ++env_.under_way;
        env_.clock.at(v.at[i], [this, at, token] { deliver(at, token); });
    }
}

void EthSwitch::deliver(std::size_t from, PduToken token) {
    const Bytes frame = env_.buffers.take(token);
    --env_.under_way;
    if (!has_link(from)) return;
    const shim_eth::ParsedHeader header = shim_eth::parse_header(frame);
    where_[shim_eth::key_of(header.source)] = from;
    const auto known = where_.find(shim_eth::key_of(header.destination));
    const bool floods = known == where_.end();
    if (floods) ++flooded;
    for (std::size_t to = 0; to < cards_.size(); ++to) {
        if (to == from || (!floods && known->second != to) || !may_pass(from, to)) continue;
        for (const auto& [receive, set_link] : cards_[to].shims) receive(frame);
    }
}

// ---- a station ----

class ShimEthSegment::Station final : public ShimEnd {
  public:
    Station(Env& env, const std::string& dif, EthSwitch& eth, std::size_t card,
            const Place& place)
        : ShimEnd(env, dif), eth_(eth), card_(card) {
        config_.vlan = place.vlan;
        config_.mtu = place.mtu;
        eth.attach(
            card, [this](const Bytes& frame) { receive(frame); },
            [this](bool up) {
                if (shim_ == nullptr) return;
                shim_->set_link(env_.now(), up);
                settle();
            });
    }
    ~Station() { power_off(); }

    std::size_t card() const noexcept { return card_; }
    void set_address(const rina::MacAddress& mac) { config_.mac = mac; }

    // Of all its lives.
    std::uint64_t dropped(std::size_t i) const {
        return drops_[i] +
               (shim_ == nullptr ? 0 : shim_->dropped(static_cast<shim_eth::Drop>(i)));
    }
    std::uint64_t conflicts() const {
        return conflicts_ + (shim_ == nullptr ? 0 : shim_->conflicts());
    }

  protected:
    void core_start() override {
        shim_ = std::make_unique<shim_eth::Shim>(config_, out_);
        shim_->set_link(env_.now(), eth_.has_link(card_));
    }
    void core_stop() override {
        for (std::size_t i = 0; i < drops_.size(); ++i)
            drops_[i] += shim_->dropped(static_cast<shim_eth::Drop>(i));
        conflicts_ += shim_->conflicts();
        shim_.reset();
        out_.clear();
    }
    void core_register(const rina::AppName& name) override {
        if (auto done = shim_->register_app(name); !done)
            env_.verdicts.fail("config", done.error().message);
    }
    void core_unregister(const rina::AppName& name) override {
        static_cast<void>(shim_->unregister_app(env_.now(), name));
    }
    Result<PortId> core_allocate(const rina::AppName& local, const rina::AppName& remote,
                                 std::uint32_t cookie) override {
        SLUICE_TRY(const auto flow, shim_->allocate(env_.now(), local, remote, cookie));
        return PortId{flow.value};
    }
    Result<> core_accept(PortId flow) override {
        return shim_->accept(env_.now(), shim_eth::FlowHandle{flow.value});
    }
    void core_refuse(PortId flow) override {
        static_cast<void>(shim_->refuse(env_.now(), shim_eth::FlowHandle{flow.value}));
    }
    void core_deallocate(PortId flow) override {
        static_cast<void>(shim_->deallocate(env_.now(), shim_eth::FlowHandle{flow.value}));
    }
    void core_timeout() override { shim_->on_timeout(env_.now()); }
    Instant core_deadline() const override {
        return shim_ == nullptr ? Instant::never() : shim_->next_deadline();
    }

    void carry_out() override {
        for (shim_eth::Action& action : std::exchange(out_.actions, {})) {
            if (auto* frame = std::get_if<shim_eth::SendFrame>(&action))
                eth_.send(card_, std::move(frame->bytes));
            else if (auto* r = std::get_if<shim_eth::FlowRequested>(&action))
                on_requested(PortId{r->flow.value}, r->local, r->remote);
            else if (auto* a = std::get_if<shim_eth::FlowAllocated>(&action))
                on_allocated(PortId{a->flow.value}, a->cookie);
            else if (auto* f = std::get_if<shim_eth::FlowFailed>(&action))
                on_failed(PortId{f->flow.value}, f->cookie, f->text);
            else if (auto* d = std::get_if<shim_eth::FlowDown>(&action))
                on_down(PortId{d->flow.value});
        }
    }

    bool has_room(PortId flow) override {
        const Duration wait = eth_.full_for(card_);
        if (wait.ns == 0) return true;
        if (!waits_for_room(flow)) later(wait, [this, flow] { wake(flow); });
        return false;
    }

    void send(PortId flow, const Bytes& sdu) override {
        const shim_eth::Header header = shim_->header_for(shim_eth::FlowHandle{flow.value});
        if (header.size == 0) return env_.drop(DropReason::link_down);
        if (sdu.size() > shim_->max_sdu()) return env_.drop(DropReason::too_long);
        Bytes frame(header.view().begin(), header.view().end());
        frame.insert(frame.end(), sdu.begin(), sdu.end());
        eth_.send(card_, std::move(frame));
    }

  private:
    void receive(const Bytes& frame) {
        if (shim_ == nullptr) return;
        const shim_eth::Verdict v = shim_->on_frame(env_.now(), frame);
        env_.trace.note(env_.now(), dif(), card_, frame.size(), static_cast<std::uint64_t>(v.kind),
                        static_cast<std::uint64_t>(v.drop));
        settle();
        if (v.kind != shim_eth::Verdict::Kind::data && v.kind != shim_eth::Verdict::Kind::hold)
            return;
        const auto from = frame.begin() + v.offset;
        take(PortId{v.flow.value}, {from, from + v.length});
    }

    EthSwitch& eth_;
    std::size_t card_;
    shim_eth::Config config_;
    shim_eth::Outbox out_;
    std::unique_ptr<shim_eth::Shim> shim_;
    std::array<std::uint64_t, shim_eth::kDropCount> drops_{};
    std::uint64_t conflicts_ = 0;
};

// ---- the DIF ----

ShimEthSegment::ShimEthSegment(Env& env, std::string dif, EthSwitch& eth, const Place& place)
    : dif_(std::move(dif)), eth_(eth) {
    for (const std::size_t card : place.cards)
        stations_.push_back(std::make_unique<Station>(env, dif_, eth, card, place));
}

ShimEthSegment::~ShimEthSegment() = default;

Provider& ShimEthSegment::end(std::size_t station) { return *stations_[station]; }

void ShimEthSegment::cut(std::size_t a, std::size_t b, bool silently) {
    eth_.cut(stations_[a]->card(), stations_[b]->card(), silently);
}
void ShimEthSegment::mend(std::size_t a, std::size_t b) {
    eth_.mend(stations_[a]->card(), stations_[b]->card());
}
bool ShimEthSegment::is_up(std::size_t a, std::size_t b) const {
    return eth_.is_up(stations_[a]->card(), stations_[b]->card());
}
void ShimEthSegment::power_off(std::size_t station, bool silently) {
    stations_[station]->power_off();
    eth_.power_off(stations_[station]->card(), silently);
}
void ShimEthSegment::power_on(std::size_t station) {
    stations_[station]->set_address(eth_.power_on(stations_[station]->card()));
    stations_[station]->power_on();
}

std::string ShimEthSegment::report() const {
    std::string out;
    for (const auto& station : stations_) {
        out += fmt::format("  {} card {}:", dif_, station->card());
        for (std::size_t i = 0; i < shim_eth::kDropCount; ++i)
            if (const auto n = station->dropped(i); n != 0)
                out += fmt::format(" '{}' {}", to_string(static_cast<shim_eth::Drop>(i)), n);
        out += fmt::format(" conflicts {}\n", station->conflicts());
    }
    return out + fmt::format("  frames {} flooded {}\n", eth_.frames, eth_.flooded);
}

}  // namespace sluice::sim
