#pragma once
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

/** A dataset's newest version, as the gateway describes it. */
struct Dataset {
    std::string id;
    std::string name;
    std::string owner;
    int64_t version = 0;
    int64_t files = 0;
    int64_t bytes = 0;
    std::string content_hash;
    std::string trust;
};

/** The REST side of a gateway; /openapi.json there describes all of it. Not for several threads at once. */
class Rest {
public:
    /** @param credential an API key, or an access token for the routes of its dataset. */
    Rest(std::string gateway, std::string credential);

    /** All datasets that the caller owns or that are shared with them. */
    std::vector<Dataset> datasets();
    Dataset dataset(const std::string& reference);
    /** The manifest's bytes; docs/formats/manifest-v1.md says what they mean. */
    std::string manifest(const std::string& reference);
    /** An access token that reads and streams this version for an hour. */
    std::string create_token(const std::string& reference);

private:
    /** The answer's body. @throws std::runtime_error with the problem that the gateway answered. */
    std::string request(const std::string& path, const nlohmann::json* body = nullptr);
    std::string escaped(const std::string& segment) const;

    std::string gateway_;
    std::string credential_;
    std::shared_ptr<void> curl_;
};
