#include "player.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "rina/objects.hpp"

namespace sluice::golden {

using rina::CdapMessage;
using rina::OpCode;
using What = Difference::What;

namespace {

template <typename T>
std::optional<T> value_in(const CdapMessage& message) {
    const auto object = rina::object_of(message);
    const T* const value = object ? std::get_if<T>(&*object) : nullptr;
    return value == nullptr ? std::nullopt : std::optional<T>(*value);
}

// The message in A_DATA, or itself.
CdapMessage inner(const CdapMessage& message) {
    const auto data = value_in<rina::AData>(message);
    return data ? data->message : message;
}

std::string text_of(View frame, std::size_t head) {
    if (frame.size() < head + rina::kDefaultFormat.bytes()) return "something short";
    Frame f;
    f.bytes.assign(frame.begin(), frame.end());
    f.head = head;
    const rina::Pci p = f.pci();
    std::string text =
        fmt::format("type {:#x} seq {} dst {} src {} ttl {} length {}", p.type, p.sequence,
                    p.destination.value, p.source.value, p.ttl, p.length);
    if (rina::is_control(p.type) && f.body().size() >= rina::kDefaultFormat.control_bytes()) {
        const rina::ControlPdu c = rina::parse_control(f.body(), rina::kDefaultFormat);
        return text + fmt::format(": {} ack {} rwe {} lwe {}, mine {} {}", c.last_control_received,
                                  c.ack, c.new_rwe, c.new_lwe, c.my_rwe, c.my_lwe);
    }
    if (!f.is_management()) return text;
    const CdapMessage m = f.message(), in = inner(m);
    return text + fmt::format(": {} {} id {}, {} {} id {}", rina::to_string(m.op), m.obj_class,
                              m.invoke_id, rina::to_string(in.op), in.obj_name, in.invoke_id);
}

class Player {
  public:
    Player(const Story& story, std::vector<Frame> frames, std::optional<Mutation> mutation)
        : story_(story), frames_(std::move(frames)), node_(config()) {
        mutate(mutation);
    }
    Report play();

  private:
    struct Closing {
        Instant at{};
        std::uint64_t peer_port = 0;
    };

    NodeConfig config() const;
    void mutate(std::optional<Mutation> mutation);
    void plan_closings();
    void advance(Instant to);
    void gap(std::size_t index);
    void prompt(const Frame& frame);
    void prompt_message(const Frame& frame, const CdapMessage& message);
    void prompt_dft(const CdapMessage& message);
    void allocate(const CdapMessage& create);
    void write(const Frame& frame);
    void read(const Frame& frame);
    void read_ahead(std::size_t index);
    void expect(const Frame& frame);
    bool matches(const Frame& frame, const Bytes& sent, What what) const;
    CdapMessage normal(CdapMessage message, What what) const;
    std::optional<What> difference_at(const Frame& frame) const;
    void fail(const std::string& text) {
        if (report_.failures.size() < 8) report_.failures.push_back(text);
    }

    const Story& story_;
    std::vector<Frame> frames_;
    std::vector<Bytes> recorded_;  // what is compared with, of each frame
    Instant zero_{};
    Node node_;
    std::vector<Closing> closings_;
    std::size_t closed_ = 0;
    std::set<std::size_t> asked_;  // lowers with a flow that we asked for
    Report report_;
};

NodeConfig Player::config() const {
    NodeConfig c;
    c.ipcp.name = story_.ours;
    c.ipcp.dif = story_.dif;
    c.ipcp.first = story_.first;
    c.ipcp.seed = story_.seed;
    c.ipcp.sync = {};  // rlite does not compare tables
    // Who asks for a flow says what rlite does. Who is asked may offer what it likes.
    c.ipcp.flows.extensions.offered = story_.first;
    c.ipcp.flows.flow_del_wait = story_.flow_del_wait;
    c.lowers = story_.lowers;
    c.protection = story_.protection;
    c.ttl_outside = story_.ttl_outside;
    c.ttl = story_.ttl;
    c.hosts = story_.hosts;
    for (const Frame& f : frames_)
        if (f.ours && story_.lowers[f.lower].over_udp)
            c.ephemeral_port = static_cast<std::uint16_t>(be16(f.bytes, 4));
    return c;
}

void Player::mutate(std::optional<Mutation> mutation) {
    std::size_t ours = 0;
    for (const Frame& f : frames_) {
        recorded_.push_back(f.bytes);
        const auto what = difference_at(f);
        const bool is_lax = what == What::order_and_age || what == What::sooner;
        if (!f.ours || is_lax || !mutation || ours++ != mutation->frame) continue;
        report_.mutated = true;
        Bytes& bytes = recorded_.back();
        const std::size_t bit = mutation->bit % (bytes.size() * 8);
        bytes[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    }
}

// When an application let go of its flow: the M_DELETE comes so much later.
void Player::plan_closings() {
    for (const Frame& f : frames_) {
        if (!f.ours || !f.is_management()) continue;
        const CdapMessage m = inner(f.message());
        if (m.op != OpCode::remove || m.obj_class != rina::rib::kFlow.obj_class) continue;
        if (f.pci().ttl != story_.ttl) continue;  // relayed
        const std::string port = m.obj_name.substr(m.obj_name.rfind('/') + 1);
        closings_.push_back({Instant{} + (f.at - zero_) - story_.flow_del_wait, std::stoull(port)});
    }
}

void Player::advance(Instant to) {
    for (; closed_ < closings_.size() && closings_[closed_].at <= to; ++closed_) {
        node_.advance(std::max(closings_[closed_].at, node_.now()));
        if (!node_.close(closings_[closed_].peer_port))
            fail(fmt::format("no flow to port {} to close", closings_[closed_].peer_port));
    }
    node_.advance(std::max(to, node_.now()));
}

Report Player::play() {
    zero_ = Instant{frames_.front().at.ns} - story_.running;
    plan_closings();
    for (std::size_t i = 0; i < frames_.size(); ++i) {
        const Frame& frame = frames_[i];
        const bool is_crossed = [&] {
            if (i + 1 == frames_.size()) return false;
            const Frame& next = frames_[i + 1];
            return std::any_of(story_.crossed.begin(), story_.crossed.end(), [&](const auto& at) {
                return at.file == next.file && at.number == next.number;
            });
        }();
        if (is_crossed) {
            std::swap(frames_[i], frames_[i + 1]);
            std::swap(recorded_[i], recorded_[i + 1]);
        }
        gap(i);
        advance(Instant{} + (frame.at - zero_));
        if (frame.ours) {
            prompt(frame);
            expect(frame);
        } else {
            ++report_.received;
            read_ahead(i);
            node_.receive(frame.lower, frame.bytes);
        }
        if (!report_.failures.empty()) break;
    }
    for (std::size_t lower = 0; lower < story_.lowers.size(); ++lower)
        for (const Bytes& more : node_.sent(lower))
            fail("never recorded: " + text_of(more, more.size() > 18 ? 14 : 0));
    report_.delivered = node_.delivered();
    report_.drops = node_.drops();
    report_.flows = node_.ipcp().flows().flows();
    report_.is_member = node_.ipcp().is_member();
    return report_;
}

// The last moment at which the previous file is known to have been written, and the first of this
// one: in between nobody listened.
void Player::gap(std::size_t index) {
    if (!story_.has_gaps || index == 0 || frames_[index].file == frames_[index - 1].file) return;
    for (std::size_t lower = 0; lower < story_.lowers.size(); ++lower)
        if (!node_.sent(lower).empty()) fail("before a gap: something that was not recorded");
    // What is due at this very moment belongs to the file.
    advance(Instant{} + (frames_[index].at - zero_) - Duration::milliseconds(100));
    for (std::size_t lower = 0; lower < story_.lowers.size(); ++lower) {
        report_.unrecorded += static_cast<unsigned>(node_.sent(lower).size());
        node_.sent(lower).clear();
    }
}

// ---- operator and applications ----

void Player::prompt(const Frame& frame) {
    if (frame.is_arp) {
        rina::RinaArp arp;
        static_cast<void>(rina::parse(frame.body(), arp));
        if (arp.operation != rina::RinaArp::Operation::request) return;
        if (asked_.insert(frame.lower).second &&
            !node_.ipcp().enroll(node_.now(), story_.lowers[frame.lower].dif,
                                 std::string(arp.target)))
            fail("cannot enroll");
        return node_.act();
    }
    const rina::Pci pci = frame.pci();
    if (pci.source != node_.ipcp().address() && pci.destination != rina::kThisHop) return;
    if (frame.is_management())
        prompt_message(frame, inner(frame.message()));
    else if (rina::is_control(pci.type))
        read(frame);
    else
        write(frame);
    node_.act();
}

void Player::prompt_message(const Frame& frame, const CdapMessage& m) {
    const Lower& lower = story_.lowers[frame.lower];
    if (m.op == OpCode::connect && lower.over_udp) {
        if (!node_.ipcp().enroll(node_.now(), lower.dif, m.destination.process))
            fail("cannot enroll");
    } else if (m.op == OpCode::release) {
        for (const auto& a : node_.ipcp().enrollment().adjacencies())
            if (!node_.ipcp().disconnect(node_.now(), a.peer)) fail("cannot disconnect");
    } else if (m.obj_class == rina::rib::kDft.obj_class) {
        prompt_dft(m);
    } else if (m.obj_class == rina::rib::kFlow.obj_class && m.op == OpCode::create) {
        allocate(m);
    }
}

void Player::prompt_dft(const CdapMessage& m) {
    const auto slice = value_in<rina::DftSlice>(m);
    if (!slice) return;
    for (const rina::DftEntry& entry : slice->entries) {
        const bool is_there = node_.ipcp().dft().is_ours(entry.application);
        if (entry.ipcp != story_.ours || is_there == (m.op == OpCode::create)) continue;
        if (is_there)
            node_.ipcp().unregister_application(node_.now(), entry.application);
        else
            node_.ipcp().register_application(node_.now(), entry.application);
    }
}

void Player::allocate(const CdapMessage& create) {
    const auto request = value_in<rina::FlowRequest>(create);
    if (!request) return fail("M_CREATE without a request");
    const auto port = node_.ipcp().allocate_flow(node_.now(), request->source_application,
                                                 request->destination_application,
                                                 mgmt::spec_of(*request), 0);
    if (!port) fail("no flow: " + port.error().message);
}

void Player::write(const Frame& frame) {
    const auto& sent = node_.sent(frame.lower);
    const std::size_t before = sent.size();
    const rina::Pci pci = frame.pci();
    if (!node_.write(pci.source_cep, frame.payload())) return fail("cannot write");
    if (difference_at(frame) != What::first_alone) return;
    if (sent.size() != before) fail("sent before the first PDU was acknowledged");
    rina::Pci ack;
    ack.type = static_cast<std::uint8_t>(rina::PduType::ack_flow_control);
    ack.source = pci.destination;
    ack.destination = pci.source;
    ack.source_cep = pci.destination_cep;
    ack.destination_cep = pci.source_cep;
    ack.length = static_cast<std::uint32_t>(rina::kDefaultFormat.control_bytes());
    // Of the first PDU; the window stays as it was, so that nothing is different afterwards.
    const rina::ControlPdu fields{0, 1, 512, 0, 0, 0};
    Bytes pdu(ack.length);
    rina::write(ack, rina::kDefaultFormat, pdu.data());
    rina::write_control(fields, rina::kDefaultFormat, pdu.data());
    node_.receive_pdu(frame.lower, pdu);
}

void Player::read(const Frame& frame) {
    const rina::ControlPdu fields = rina::parse_control(frame.body(), rina::kDefaultFormat);
    node_.read_to(frame.pci().source_cep, fields.new_lwe);
    if (node_.sent(frame.lower).empty()) node_.on_transfer_timeout();
}

// With an A-timer that is due, the frame brings forth the control PDU that the recorded node sent
// only when the timer fired. What its application had read is told by that one.
void Player::read_ahead(std::size_t index) {
    if (node_.data().next_deadline() > node_.now()) return;
    constexpr Duration kTimerSlack = Duration::milliseconds(5);
    for (std::size_t i = index + 1; i < frames_.size(); ++i) {
        const Frame& next = frames_[i];
        if (next.at - frames_[index].at > kTimerSlack) break;
        if (!next.ours || next.is_arp || !rina::is_control(next.pci().type)) continue;
        const auto fields = rina::parse_control(next.body(), rina::kDefaultFormat);
        node_.read_to(next.pci().source_cep, fields.new_lwe);
    }
}

// ---- what must come out ----

std::optional<What> Player::difference_at(const Frame& frame) const {
    for (const Difference& d : story_.differences)
        if (d.file == frame.file && d.number == frame.number) return d.what;
    return std::nullopt;
}

void Player::expect(const Frame& frame) {
    auto& sent = node_.sent(frame.lower);
    const Bytes& recorded = recorded_[static_cast<std::size_t>(&frame - frames_.data())];
    const auto what = difference_at(frame);
    if (sent.empty()) return fail(frame.name() + " is not sent: " + text_of(recorded, frame.head));
    if (what == What::timer_late) {
        if (sent.size() < 2 || sent.front() == recorded) return fail(frame.name() + " is not late");
        std::swap(sent[0], sent[1]);
    }
    const Bytes ours = std::move(sent.front());
    sent.pop_front();
    const bool is_same = ours == recorded;
    if (!what || what == What::first_alone || what == What::timer_late) {
        if (!is_same)
            fail(fmt::format("{} is another: {}; recorded: {}", frame.name(),
                             text_of(ours, frame.head), text_of(recorded, frame.head)));
        what ? ++report_.different : ++report_.same;
        return;
    }
    ++report_.different;
    if (is_same) return fail(frame.name() + " is not different");
    Frame as_recorded = frame;
    as_recorded.bytes = recorded;
    if (!matches(as_recorded, ours, *what))
        fail(frame.name() + " differs in more than is listed: " + text_of(ours, frame.head));
}

// All but that.
bool Player::matches(const Frame& recorded, const Bytes& sent, What what) const {
    Frame ours = recorded;
    ours.bytes = sent;
    if (sent.size() < recorded.head + rina::kDefaultFormat.bytes()) return false;
    const auto head = static_cast<std::ptrdiff_t>(recorded.head);
    if (!std::equal(sent.begin(), sent.begin() + head, recorded.bytes.begin())) return false;
    rina::Pci a = recorded.pci(), b = ours.pci();
    // Of another message.
    if (what == What::sooner) {
        b.length = a.length;
        b.checksum = a.checksum;
    }
    return a == b && rina::encode(normal(recorded.message(), what)) ==
                         rina::encode(normal(ours.message(), what));
}

CdapMessage Player::normal(CdapMessage m, What what) const {
    auto links = value_in<rina::LowerFlowList>(m);
    if (!links) return m;
    if (what == What::sooner)
        std::erase_if(links->flows,
                      [this](const auto& link) { return link.local_node != story_.ours; });
    if (what == What::order_and_age) {
        for (rina::LowerFlow& link : links->flows) link.age_s = 0;
        std::sort(links->flows.begin(), links->flows.end(), [](const auto& a, const auto& b) {
            return std::tie(a.local_node, a.remote_node) < std::tie(b.local_node, b.remote_node);
        });
    }
    m.value = rina::value_of(*links);
    return m;
}

}  // namespace

Report play(const std::string& directory, const Story& story, std::optional<Mutation> mutation) {
    auto frames = read_frames(directory, story.lowers);
    Report report;
    if (!frames) {
        report.failures.push_back(frames.error().message);
        return report;
    }
    if (story.only_neighbors)
        std::erase_if(*frames, [](const Frame& f) {
            return !f.is_arp && f.pci().destination != rina::kThisHop;
        });
    if (frames->empty()) {
        report.failures.push_back("nothing was recorded");
        return report;
    }
    return Player(story, std::move(*frames), mutation).play();
}

}  // namespace sluice::golden
