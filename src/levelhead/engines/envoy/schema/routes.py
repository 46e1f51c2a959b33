"""Envoy's messages about routes, matching and retries: field names by kind."""

from __future__ import annotations

from typing import Final

MESSAGES: Final = """
http.PathTransformation:
.Operation* operations
http.PathTransformation.Operation:
.MergeSlashes merge_slashes; .NormalizePathRFC3986 normalize_path_rfc_3986
http.PathTransformation.Operation.MergeSlashes:
-
http.PathTransformation.Operation.NormalizePathRFC3986:
-
matcher.AddressMatcher:
? ranges; bool invert_match
matcher.DoubleMatcher:
number exact; v3.DoubleRange range
matcher.FilterStateMatcher:
matcher.AddressMatcher address_match; matcher.StringMatcher string_match; text key
matcher.ListMatcher:
matcher.ValueMatcher one_of
matcher.MetadataMatcher:
.PathSegment* path; bool invert; matcher.ValueMatcher value; text filter
matcher.MetadataMatcher.PathSegment:
text key
matcher.OrMatcher:
matcher.ValueMatcher* value_matchers
matcher.RegexMatchAndSubstitute:
matcher.RegexMatcher pattern; text substitution
matcher.RegexMatcher:
.GoogleRE2 google_re2; text regex
matcher.RegexMatcher.GoogleRE2:
int max_program_size
matcher.StringMatcher:
? custom; bool ignore_case; matcher.RegexMatcher safe_regex; text contains exact prefix suffix
matcher.ValueMatcher:
.NullMatch null_match; bool bool_match present_match; matcher.DoubleMatcher double_match; matcher.ListMatcher
list_match; matcher.OrMatcher or_match; matcher.StringMatcher string_match
matcher.ValueMatcher.NullMatch:
-
retry.host.previous_hosts.PreviousHostsPredicate:
-
route.ClusterSpecifierPlugin:
bool is_optional; core.TypedExtensionConfig extension
route.CookieMatcher:
bool invert_match; matcher.StringMatcher string_match; text name
route.CorsPolicy:
bool allow_credentials allow_private_network_access forward_not_matching_preflights; core.RuntimeFractionalPercent
filter_enabled shadow_enabled; matcher.StringMatcher* allow_origin_string_match; text allow_headers allow_methods
expose_headers max_age
route.Decorator:
bool propagate; text operation
route.DirectResponseAction:
? body_format; core.DataSource body; int status
route.FilterAction:
any action
route.HeaderMatcher:
bool invert_match present_match treat_missing_header_as_empty; matcher.RegexMatcher safe_regex_match;
matcher.StringMatcher string_match; text contains_match exact_match name prefix_match suffix_match; v3.Int64Range
range_match
route.HedgePolicy:
bool hedge_on_per_try_timeout; int initial_requests; v3.FractionalPercent additional_request_chance
route.InternalRedirectPolicy:
bool allow_cross_scheme_redirect; core.TypedExtensionConfig* predicates; int max_internal_redirects; int*
redirect_response_codes; text* response_headers_to_copy
route.NonForwardingAction:
-
route.QueryParameterMatcher:
bool present_match; matcher.StringMatcher string_match; text name
route.RedirectAction:
.RedirectResponseCode response_code; bool https_redirect strip_query; int port_redirect;
matcher.RegexMatchAndSubstitute regex_rewrite; text host_redirect path_redirect path_rewrite prefix_rewrite
scheme_redirect
route.RetryPolicy:
.RateLimitedRetryBackOff rate_limited_retry_back_off; .RetryBackOff retry_back_off; .RetryHostPredicate*
retry_host_predicate; .RetryPriority retry_priority; bool refresh_cluster_on_retry; core.TypedExtensionConfig*
retry_options_predicates; duration per_try_idle_timeout per_try_timeout; int host_selection_retry_max_attempts
num_retries; int* retriable_status_codes; route.HeaderMatcher* retriable_headers retriable_request_headers; text
retry_on
route.RetryPolicy.RateLimitedRetryBackOff:
duration max_interval; route.RetryPolicy.ResetHeader* reset_headers
route.RetryPolicy.ResetHeader:
route.RetryPolicy.ResetHeaderFormat format; text name
route.RetryPolicy.RetryBackOff:
duration base_interval max_interval
route.RetryPolicy.RetryHostPredicate:
any typed_config; text name
route.RetryPolicy.RetryPriority:
any typed_config; text name
route.Route:
core.HeaderValueOption* request_headers_to_add response_headers_to_add; core.Metadata metadata;
core.TypedExtensionConfig* route_specifiers; int per_request_buffer_limit_bytes request_body_buffer_limit; map<any>
typed_per_filter_config; route.Decorator decorator; route.DirectResponseAction direct_response; route.FilterAction
filter_action; route.NonForwardingAction non_forwarding_action; route.RedirectAction redirect; route.RouteAction
route; route.RouteMatch match; route.Tracing tracing; text name stat_prefix; text* request_headers_to_remove
response_headers_to_remove
route.RouteAction:
.ClusterNotFoundResponseCode cluster_not_found_response_code; .HashPolicy* hash_policy; .InternalRedirectAction
internal_redirect_action; .MaxStreamDuration max_stream_duration; .RequestMirrorPolicy* request_mirror_policies;
.UpgradeConfig* upgrade_configs; ? rate_limits; any retry_policy_typed_config; bool append_x_forwarded_host
auto_host_rewrite include_vh_rate_limits; core.Metadata metadata_match; core.RoutingPriority priority;
core.TypedExtensionConfig early_data_policy path_rewrite_policy; duration flush_timeout grpc_timeout_offset
idle_timeout max_grpc_timeout timeout; int max_internal_redirects; matcher.RegexMatchAndSubstitute
host_rewrite_path_regex regex_rewrite; route.ClusterSpecifierPlugin inline_cluster_specifier_plugin; route.CorsPolicy
cors; route.HedgePolicy hedge_policy; route.InternalRedirectPolicy internal_redirect_policy; route.RetryPolicy
retry_policy; route.WeightedCluster weighted_clusters; text cluster cluster_header cluster_specifier_plugin
host_rewrite host_rewrite_header host_rewrite_literal path_rewrite prefix_rewrite
route.RouteAction.HashPolicy:
.ConnectionProperties connection_properties; .Cookie cookie; .FilterState filter_state; .Header header;
.QueryParameter query_parameter; bool terminal
route.RouteAction.HashPolicy.ConnectionProperties:
bool source_ip
route.RouteAction.HashPolicy.Cookie:
duration ttl; route.RouteAction.HashPolicy.CookieAttribute* attributes; text name path
route.RouteAction.HashPolicy.CookieAttribute:
text name value
route.RouteAction.HashPolicy.FilterState:
text key
route.RouteAction.HashPolicy.Header:
matcher.RegexMatchAndSubstitute regex_rewrite; text header_name
route.RouteAction.HashPolicy.QueryParameter:
text name
route.RouteAction.MaxStreamDuration:
duration grpc_timeout_header_max grpc_timeout_header_offset max_stream_duration
route.RouteAction.RequestMirrorPolicy:
? request_headers_mutations; bool disable_shadow_host_suffix_append trace_sampled; core.RuntimeFractionalPercent
runtime_fraction; text cluster cluster_header host_rewrite_literal
route.RouteAction.UpgradeConfig:
.ConnectConfig connect_config; bool enabled; text upgrade_type
route.RouteAction.UpgradeConfig.ConnectConfig:
bool allow_post; core.ProxyProtocolConfig proxy_protocol_config
route.RouteConfiguration:
bool ignore_path_parameters_in_path_matching ignore_port_in_host_matching most_specific_header_mutations_wins
validate_clusters; core.HeaderValueOption* request_headers_to_add response_headers_to_add; core.Metadata metadata;
core.TypedExtensionConfig* route_specifiers; int max_direct_response_body_size_bytes; map<any>
typed_per_filter_config; route.ClusterSpecifierPlugin* cluster_specifier_plugins;
route.RouteAction.RequestMirrorPolicy* request_mirror_policies; route.Vhds vhds; route.VirtualHost* virtual_hosts;
text name vhost_header; text* internal_only_headers request_headers_to_remove response_headers_to_remove
route.RouteMatch:
.ConnectMatcher connect_matcher; .GrpcRouteMatchOptions grpc; .TlsContextMatchOptions tls_context; bool
case_sensitive; core.RuntimeFractionalPercent runtime_fraction; core.TypedExtensionConfig path_match_policy;
matcher.FilterStateMatcher* filter_state; matcher.MetadataMatcher* dynamic_metadata; matcher.RegexMatcher safe_regex;
route.CookieMatcher* cookies; route.HeaderMatcher* headers; route.QueryParameterMatcher* query_parameters; text path
path_separated_prefix prefix
route.RouteMatch.ConnectMatcher:
-
route.RouteMatch.GrpcRouteMatchOptions:
-
route.RouteMatch.TlsContextMatchOptions:
bool presented validated
route.ScopedRouteConfiguration:
.Key key; bool on_demand; route.RouteConfiguration route_configuration; text name route_configuration_name
route.ScopedRouteConfiguration.Key:
.Fragment* fragments
route.ScopedRouteConfiguration.Key.Fragment:
text string_key
route.Tracing:
? custom_tags; text operation upstream_operation; v3.FractionalPercent client_sampling overall_sampling
random_sampling
route.Vhds:
core.ConfigSource config_source
route.VirtualCluster:
route.HeaderMatcher* headers; text name
route.VirtualHost:
.TlsRequirementType require_tls; ? matcher rate_limits; any retry_policy_typed_config; bool
include_attempt_count_in_response include_is_timeout_retry_header include_request_attempt_count;
core.HeaderValueOption* request_headers_to_add response_headers_to_add; core.Metadata metadata;
core.TypedExtensionConfig* route_specifiers; int per_request_buffer_limit_bytes request_body_buffer_limit; map<any>
typed_per_filter_config; route.CorsPolicy cors; route.HedgePolicy hedge_policy; route.RetryPolicy retry_policy;
route.Route* routes; route.RouteAction.RequestMirrorPolicy* request_mirror_policies; route.VirtualCluster*
virtual_clusters; text name; text* domains request_headers_to_remove response_headers_to_remove
route.WeightedCluster:
.ClusterWeight* clusters; bool use_hash_policy; int total_weight; text header_name runtime_key_prefix
route.WeightedCluster.ClusterWeight:
core.HeaderValueOption* request_headers_to_add response_headers_to_add; core.Metadata metadata_match; int weight;
map<any> typed_per_filter_config; text cluster_header host_rewrite_literal name; text* request_headers_to_remove
response_headers_to_remove
service.discovery.DiscoveryResponse:
? resource_errors; any* resources; bool canary; core.ControlPlane control_plane; text nonce type_url version_info
v3.DoubleRange:
number end start
v3.FractionalPercent:
.DenominatorType denominator; int numerator
v3.HashPolicy:
.FilterState filter_state; .SourceIp source_ip
v3.HashPolicy.FilterState:
text key
v3.HashPolicy.SourceIp:
-
v3.Int32Range:
int end start
v3.Int64Range:
int end start
v3.Percent:
number value
"""

ENUMS: Final = """
route.RedirectAction.RedirectResponseCode: MOVED_PERMANENTLY FOUND SEE_OTHER TEMPORARY_REDIRECT PERMANENT_REDIRECT
route.RetryPolicy.ResetHeaderFormat: SECONDS UNIX_TIMESTAMP
route.RouteAction.ClusterNotFoundResponseCode: SERVICE_UNAVAILABLE NOT_FOUND INTERNAL_SERVER_ERROR
route.RouteAction.InternalRedirectAction: PASS_THROUGH_INTERNAL_REDIRECT HANDLE_INTERNAL_REDIRECT
route.VirtualHost.TlsRequirementType: NONE EXTERNAL_ONLY ALL
v3.CodecClientType: HTTP1 HTTP2 HTTP3
v3.FractionalPercent.DenominatorType: HUNDRED TEN_THOUSAND MILLION
"""
