#pragma once

#include "shim_end.hpp"
#include "shim_eth/core/shim_eth.hpp"

// Ethernet with shims on it. The switch and the cables are a model, the shims are the product's.
namespace sluice::sim {

// A broadcast domain of network cards: a cable between two, or a switch that learns which address
// is where. Several VLANs may share it; it carries them all alike.
class EthSwitch {
  public:
    using Receive = std::function<void(const Bytes& frame)>;
    using SetLink = std::function<void(bool up)>;

    EthSwitch(Env& env, const link_model::Config& config, bool is_cable)
        : env_(env), config_(config), is_cable_(is_cable) {}

    std::size_t add_card();
    // A shim on a card hears all frames that the card hears.
    void attach(std::size_t card, Receive receive, SetLink set_link);
    // What runs on a card is switched off and on together. A card that comes back may have another
    // address than before, one that was another's before too.
    void power_off(std::size_t card, bool silently);
    const rina::MacAddress& power_on(std::size_t card);

    void set_config(const link_model::Config& config);
    void cut(std::size_t a, std::size_t b, bool silently);
    void mend(std::size_t a, std::size_t b);
    bool is_up(std::size_t a, std::size_t b) const;
    bool has_link(std::size_t card) const;

    // Until the card's ring has room; zero if it has.
    Duration full_for(std::size_t card) const;
    void send(std::size_t card, Bytes frame);
    // It forgets which address is where, as after a change of the network's tree.
    void forget_addresses() { where_.clear(); }

    std::uint64_t frames = 0, flooded = 0;

  private:
    struct Card {
        rina::MacAddress mac{};
        unsigned powered = 0;  // shims that run
        bool is_plugged = true;
        bool is_dark = false;  // the node is off, and its neighbour on the cable sees that
        link_model::LinkModel model;
        std::vector<std::pair<Receive, SetLink>> shims;
    };
    bool may_pass(std::size_t from, std::size_t to) const;
    void deliver(std::size_t from, PduToken token);
    void tell_links();
    rina::MacAddress draw_address(const rina::MacAddress& former);

    Env& env_;
    link_model::Config config_;
    bool is_cable_;
    std::vector<Card> cards_;
    std::vector<bool> told_;
    std::set<std::pair<std::size_t, std::size_t>> blocked_;
    std::map<std::uint64_t, std::size_t> where_;
    std::vector<rina::MacAddress> retired_;  // addresses that cards had
    std::uint32_t next_address_ = 1;
};

// A shim DIF: one VLAN of a switch, or the frames without a tag.
class ShimEthSegment final : public Medium {
  public:
    struct Place {
        std::uint16_t vlan = 0;
        std::uint32_t mtu = 1500;
        std::vector<std::size_t> cards;  // of the stations
    };
    ShimEthSegment(Env& env, std::string dif, EthSwitch& eth, const Place& place);
    ~ShimEthSegment() override;

    const std::string& dif() const override { return dif_; }
    Provider& end(std::size_t station) override;
    void set_config(const link_model::Config& config) override { eth_.set_config(config); }
    void cut(std::size_t a, std::size_t b, bool silently) override;
    void mend(std::size_t a, std::size_t b) override;
    bool is_up(std::size_t a, std::size_t b) const override;
    void power_off(std::size_t station, bool silently) override;
    void power_on(std::size_t station) override;
    void disturb() override { eth_.forget_addresses(); }
    std::string report() const override;

  private:
    class Station;

    std::string dif_;
    EthSwitch& eth_;
    std::vector<std::unique_ptr<Station>> stations_;
};

}  // namespace sluice::sim
