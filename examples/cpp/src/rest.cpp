#include "rest.hpp"

#include <curl/curl.h>

#include <stdexcept>

namespace {

using nlohmann::json;

/** No answer of the gateway is larger than a manifest of some ten million files. */
constexpr std::size_t ANSWER_MAX_BYTES = std::size_t{2} << 30;

std::size_t collect(char* data, std::size_t size, std::size_t count, void* into) {
    auto& body = *static_cast<std::string*>(into);
    if (body.size() + size * count > ANSWER_MAX_BYTES) return 0;
    body.append(data, size * count);
    return size * count;
}

Dataset parse_dataset(const json& value) {
    return {value.at("id"),          value.at("name"),       value.at("owner"),
            value.at("version"),     value.at("file_count"), value.at("total_size_bytes"),
            value.at("content_hash"), value.at("trust")};
}

/** What went wrong, as a problem document (RFC 9457) says it. */
std::string problem(long status, const std::string& body) {
    const json document = json::parse(body, nullptr, false);
    const std::string answered = "The gateway answered " + std::to_string(status);
    if (!document.is_object() || !document.contains("detail")) return answered + ".";
    return answered + ": " + document["detail"].get<std::string>();
}

}  // namespace

Rest::Rest(std::string gateway, std::string credential)
    : gateway_(std::move(gateway)),
      credential_(std::move(credential)),
      curl_(curl_easy_init(), [](void* curl) { curl_easy_cleanup(curl); }) {
    if (curl_ == nullptr) throw std::runtime_error("libcurl cannot be used.");
    while (!gateway_.empty() && gateway_.back() == '/') gateway_.pop_back();
}

std::vector<Dataset> Rest::datasets() {
    std::vector<Dataset> found;
    for (std::string cursor;;) {
        const json page = json::parse(request("/api/datasets" + (cursor.empty() ? "" : "?cursor=" + escaped(cursor))));
        for (const json& each : page.at("datasets")) found.push_back(parse_dataset(each));
        if (!page.at("next_cursor").is_string()) return found;
        cursor = page["next_cursor"];
    }
}

Dataset Rest::dataset(const std::string& reference) {
    return parse_dataset(json::parse(request("/api/datasets/" + escaped(reference))));
}

std::string Rest::manifest(const std::string& reference) {
    return request("/api/datasets/" + escaped(reference) + "/manifest");
}

std::string Rest::create_token(const std::string& reference) {
    const json body = {{"scopes", {"read", "stream"}}, {"ttl_seconds", 3600}};
    return json::parse(request("/api/datasets/" + escaped(reference) + "/tokens", &body)).at("token");
}

std::string Rest::request(const std::string& path, const json* body) {
    CURL* curl = curl_.get();
    curl_easy_reset(curl);
    const std::string url = gateway_ + path;
    std::string answer;
    curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 30L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 60L);
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, credential_.c_str());
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(nullptr, curl_slist_free_all);
    std::string text;
    if (body != nullptr) {
        text = body->dump();
        headers.reset(curl_slist_append(nullptr, "content-type: application/json"));
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(text.size()));
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text.c_str());
    }
    const CURLcode result = curl_easy_perform(curl);
    if (result != CURLE_OK)
        throw std::runtime_error("The gateway at " + gateway_ + " cannot be reached: " + curl_easy_strerror(result) + ".");
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299) throw std::runtime_error(problem(status, answer));
    return answer;
}

std::string Rest::escaped(const std::string& segment) const {
    const std::unique_ptr<char, decltype(&curl_free)> text(
        curl_easy_escape(curl_.get(), segment.data(), static_cast<int>(segment.size())), curl_free);
    return text.get();
}
