// Files carried inside the binary, so that one installed file is the whole product.
// To add one: a block that embeds it, and its row in the table below.
#include "assets.h"

static const unsigned char solar_725033[] = {
#embed "files/solar/725033.csv"
};
static const unsigned char solar_725030[] = {
#embed "files/solar/725030.csv"
};
static const unsigned char solar_744860[] = {
#embed "files/solar/744860.csv"
};
static const unsigned char places_nyc_zip_map[] = {
#embed "files/places/nyc_zip_map.json"
};
static const unsigned char migration_0001_records[] = {
#embed "files/migrations/0001_records.sql"
};
static const unsigned char migration_0002_accounts[] = {
#embed "files/migrations/0002_accounts.sql"
};
static const unsigned char migration_0005_attribution[] = {
#embed "files/migrations/0005_attribution.sql"
};
static const unsigned char migration_0006_event_policy[] = {
#embed "files/migrations/0006_event_policy.sql"
};
static const unsigned char migration_0007_exports[] = {
#embed "files/migrations/0007_exports.sql"
};
static const unsigned char migration_0100_jobs[] = {
#embed "files/migrations/0100_jobs.sql"
};
static const unsigned char migration_0008_fences[] = {
#embed "files/migrations/0008_fences.sql"
};
static const unsigned char migration_0120_outbox_order_sqlite[] = {
#embed "files/migrations/0120_outbox_order.sqlite.sql"
};
static const unsigned char migration_0120_outbox_order_postgres[] = {
#embed "files/migrations/0120_outbox_order.postgres.sql"
};
static const unsigned char migration_0121_database_probe[] = {
#embed "files/migrations/0121_database_probe.sql"
};
static const unsigned char migration_0122_database_incarnation_sqlite[] = {
#embed "files/migrations/0122_database_incarnation.sqlite.sql"
};
static const unsigned char migration_0122_database_incarnation_postgres[] = {
#embed "files/migrations/0122_database_incarnation.postgres.sql"
};
static const unsigned char migration_0123_idempotency_expiry[] = {
#embed "files/migrations/0123_idempotency_expiry.sql"
};
static const unsigned char migration_0140_fence_sequence_postgres[] = {
#embed "files/migrations/0140_fence_sequence.postgres.sql"
};
static const unsigned char migration_0140_fence_sequence_sqlite[] = {
#embed "files/migrations/0140_fence_sequence.sqlite.sql"
};
static const unsigned char migration_0141_job_leavings[] = {
#embed "files/migrations/0141_job_leavings.sql"
};
static const unsigned char migration_0142_job_order_postgres[] = {
#embed "files/migrations/0142_job_order.postgres.sql"
};
static const unsigned char migration_0142_job_order_sqlite[] = {
#embed "files/migrations/0142_job_order.sqlite.sql"
};
static const unsigned char migration_0143_job_due_postgres[] = {
#embed "files/migrations/0143_job_due.postgres.sql"
};
static const unsigned char migration_0143_job_due_sqlite[] = {
#embed "files/migrations/0143_job_due.sqlite.sql"
};
static const unsigned char migration_0011_sessions[] = {
#embed "files/migrations/0011_sessions.sql"
};
static const unsigned char migration_0130_attribution_models[] = {
#embed "files/migrations/0130_attribution_models.sql"
};
static const unsigned char migration_0131_postbacks[] = {
#embed "files/migrations/0131_postbacks.sql"
};
static const unsigned char migration_0132_spend[] = {
#embed "files/migrations/0132_spend.sql"
};
static const unsigned char migration_0133_campaign_results[] = {
#embed "files/migrations/0133_campaign_results.sql"
};
static const unsigned char migration_0150_attribution_log[] = {
#embed "files/migrations/0150_attribution_log.sql"
};
static const unsigned char migration_0160_attribution_people[] = {
#embed "files/migrations/0160_attribution_people.sql"
};
static const unsigned char migration_0161_campaign_budgets[] = {
#embed "files/migrations/0161_campaign_budgets.sql"
};
static const unsigned char migration_0200_isolated_breakers[] = {
#embed "files/migrations/0200_isolated_breakers.sql"
};
static const unsigned char migration_0201_outbox_rejected[] = {
#embed "files/migrations/0201_outbox_rejected.sql"
};
static const unsigned char migration_0210_attribution_as_of[] = {
#embed "files/migrations/0210_attribution_as_of.sql"
};
static const unsigned char migration_0211_spend_history[] = {
#embed "files/migrations/0211_spend_history.sql"
};
static const unsigned char migration_0240_attribution_ads[] = {
#embed "files/migrations/0240_attribution_ads.sql"
};
static const unsigned char migration_0250_callbacks[] = {
#embed "files/migrations/0250_callbacks.sql"
};
static const unsigned char migration_0265_attribution_schedules[] = {
#embed "files/migrations/0265_attribution_schedules.sql"
};
static const unsigned char migration_0266_attribution_restated[] = {
#embed "files/migrations/0266_attribution_restated.sql"
};
static const unsigned char migration_0300_attribution_refunds[] = {
#embed "files/migrations/0300_attribution_refunds.sql"
};
static const unsigned char migration_0305_reengagements[] = {
#embed "files/migrations/0305_reengagements.sql"
};
static const unsigned char migration_0315_export_schedules[] = {
#embed "files/migrations/0315_export_schedules.sql"
};
static const unsigned char migration_0320_attribution_changes[] = {
#embed "files/migrations/0320_attribution_changes.sql"
};
static const unsigned char migration_0280_postback_values[] = {
#embed "files/migrations/0280_postback_values.sql"
};
static const unsigned char migration_0290_experiments[] = {
#embed "files/migrations/0290_experiments.sql"
};
static const unsigned char migration_0295_attribution_windows[] = {
#embed "files/migrations/0295_attribution_windows.sql"
};
static const unsigned char migration_0230_attribution_evidence[] = {
#embed "files/migrations/0230_attribution_evidence.sql"
};
static const unsigned char migration_0270_observed_breakers[] = {
#embed "files/migrations/0270_observed_breakers.sql"
};
static const unsigned char migration_0220_stop_rules[] = {
#embed "files/migrations/0220_stop_rules.sql"
};
static const unsigned char migration_0190_uploads[] = {
#embed "files/migrations/0190_uploads.sql"
};
static const unsigned char migration_0171_links[] = {
#embed "files/migrations/0171_links.sql"
};
static const unsigned char migration_0170_installs[] = {
#embed "files/migrations/0170_installs.sql"
};
static const unsigned char migration_0004_leads[] = {
#embed "files/migrations/0004_leads.sql"
};
static const unsigned char rules_score_rooftop[] = {
#embed "files/rules/score-rooftop.json"
};
static const unsigned char rules_score_community_solar[] = {
#embed "files/rules/score-community-solar.json"
};
static const unsigned char rules_score_building[] = {
#embed "files/rules/score-building.json"
};
static const unsigned char rules_score_commercial[] = {
#embed "files/rules/score-commercial.json"
};
static const unsigned char migration_0003_conversation[] = {
#embed "files/migrations/0003_conversation.sql"
};
static const unsigned char flows_core[] = {
#embed "files/flows/core.yaml"
};
static const unsigned char flows_solar_qualify[] = {
#embed "files/flows/solar.qualify.yaml"
};
static const unsigned char web_layout[] = {
#embed "files/web/layout.mustache"
};
static const unsigned char web_landing[] = {
#embed "files/web/landing.mustache"
};
static const unsigned char web_dashboard[] = {
#embed "files/web/dashboard.mustache"
};
static const unsigned char web_explain[] = {
#embed "files/web/explain.mustache"
};
static const unsigned char web_nav[] = {
#embed "files/web/nav.mustache"
};
static const unsigned char web_menu_js[] = {
#embed "files/web/menu.js"
};
static const unsigned char web_field[] = {
#embed "files/web/field.mustache"
};
static const unsigned char web_form[] = {
#embed "files/web/form.mustache"
};
static const unsigned char web_tabs[] = {
#embed "files/web/tabs.mustache"
};
static const unsigned char web_runs[] = {
#embed "files/web/runs.mustache"
};
static const unsigned char web_experiments[] = {
#embed "files/web/experiments.mustache"
};
static const unsigned char web_windows[] = {
#embed "files/web/windows.mustache"
};
static const unsigned char web_weights[] = {
#embed "files/web/weights.mustache"
};
static const unsigned char web_schemas[] = {
#embed "files/web/schemas.mustache"
};
static const unsigned char web_explore[] = {
#embed "files/web/explore.mustache"
};
static const unsigned char web_campaigns[] = {
#embed "files/web/campaigns.mustache"
};
static const unsigned char web_campaigns_js[] = {
#embed "files/web/campaigns.js"
};
static const unsigned char web_installs_js[] = {
#embed "files/web/installs.js"
};
static const unsigned char web_postbacks_js[] = {
#embed "files/web/postbacks.js"
};
static const unsigned char web_cohorts[] = {
#embed "files/web/cohorts.mustache"
};
static const unsigned char web_budgets_js[] = {
#embed "files/web/budgets.js"
};
static const unsigned char web_cohorts_js[] = {
#embed "files/web/cohorts.js"
};
static const unsigned char web_uploads[] = {
#embed "files/web/uploads.mustache"
};
static const unsigned char web_lists_js[] = {
#embed "files/web/lists.js"
};
static const unsigned char web_callbacks_js[] = {
#embed "files/web/callbacks.js"
};
static const unsigned char web_uploads_js[] = {
#embed "files/web/uploads.js"
};
static const unsigned char migration_0180_fraud[] = {
#embed "files/migrations/0180_fraud.sql"
};
static const unsigned char web_journeys[] = {
#embed "files/web/journeys.mustache"
};
static const unsigned char web_journeys_js[] = {
#embed "files/web/journeys.js"
};
static const unsigned char web_fraud[] = {
#embed "files/web/fraud.mustache"
};
static const unsigned char web_fraud_js[] = {
#embed "files/web/fraud.js"
};
static const unsigned char web_jobs[] = {
#embed "files/web/jobs.mustache"
};
static const unsigned char web_jobs_js[] = {
#embed "files/web/jobs.js"
};
static const unsigned char web_database[] = {
#embed "files/web/database.mustache"
};
static const unsigned char web_database_js[] = {
#embed "files/web/database.js"
};
static const unsigned char web_live[] = {
#embed "files/web/live.mustache"
};
static const unsigned char web_funnel[] = {
#embed "files/web/funnel.mustache"
};
static const unsigned char web_problem[] = {
#embed "files/web/problem.mustache"
};
static const unsigned char web_questions_css[] = {
#embed "files/web/questions.css"
};
static const unsigned char web_questions_js[] = {
#embed "files/web/questions.js"
};
static const unsigned char web_explore_js[] = {
#embed "files/web/explore.js"
};
static const unsigned char web_live_js[] = {
#embed "files/web/live.js"
};
static const unsigned char web_funnel_js[] = {
#embed "files/web/funnel.js"
};
static const unsigned char web_login[] = {
#embed "files/web/login.mustache"
};
static const unsigned char web_app_css[] = {
#embed "files/web/app.css"
};
static const unsigned char web_chat_js[] = {
#embed "files/web/chat.js"
};
static const unsigned char web_dashboard_js[] = {
#embed "files/web/dashboard.js"
};
static const unsigned char web_explain_js[] = {
#embed "files/web/explain.js"
};
static const unsigned char web_privacy_js[] = {
#embed "files/web/privacy.js"
};
static const unsigned char web_tracker_js[] = {
#embed "files/web/tracker.js"
};
static const unsigned char web_favicon_svg[] = {
#embed "files/web/favicon.svg"
};
#if __has_embed("vendor/chart.min.js")
static const unsigned char web_chart_min_js[] = {
#embed "vendor/chart.min.js"
};
#else
#error "Sources/CAssets/vendor/chart.min.js is missing: run make, which copies it from the Debian package libjs-chart.js"
#endif
static const unsigned char solar_stations[] = {
#embed "files/solar/stations.json"
};
static const unsigned char solar_reference[] = {
#embed "files/solar/reference.json"
};
static const unsigned char places_territory_overlay[] = {
#embed "files/places/territory-overlay.json"
};
static const unsigned char rules_solar_rules[] = {
#embed "files/rules/solar-rules.json"
};

#define ROW(path, symbol) { path, symbol, sizeof symbol }

static const aurum_asset table[] = {
    ROW("solar/725033.csv", solar_725033),
    ROW("solar/725030.csv", solar_725030),
    ROW("solar/744860.csv", solar_744860),
    ROW("places/nyc_zip_map.json", places_nyc_zip_map),
    ROW("migrations/0001_records.sql", migration_0001_records),
    ROW("migrations/0002_accounts.sql", migration_0002_accounts),
    ROW("migrations/0005_attribution.sql", migration_0005_attribution),
    ROW("migrations/0004_leads.sql", migration_0004_leads),
    ROW("migrations/0006_event_policy.sql", migration_0006_event_policy),
    ROW("migrations/0007_exports.sql", migration_0007_exports),
    ROW("migrations/0122_database_incarnation.sqlite.sql", migration_0122_database_incarnation_sqlite),
    ROW("migrations/0122_database_incarnation.postgres.sql", migration_0122_database_incarnation_postgres),
    ROW("migrations/0123_idempotency_expiry.sql", migration_0123_idempotency_expiry),
    ROW("migrations/0008_fences.sql", migration_0008_fences),
    ROW("migrations/0100_jobs.sql", migration_0100_jobs),
    ROW("migrations/0120_outbox_order.sqlite.sql", migration_0120_outbox_order_sqlite),
    ROW("migrations/0120_outbox_order.postgres.sql", migration_0120_outbox_order_postgres),
    ROW("migrations/0121_database_probe.sql", migration_0121_database_probe),
    ROW("migrations/0140_fence_sequence.postgres.sql", migration_0140_fence_sequence_postgres),
    ROW("migrations/0140_fence_sequence.sqlite.sql", migration_0140_fence_sequence_sqlite),
    ROW("migrations/0141_job_leavings.sql", migration_0141_job_leavings),
    ROW("migrations/0142_job_order.postgres.sql", migration_0142_job_order_postgres),
    ROW("migrations/0142_job_order.sqlite.sql", migration_0142_job_order_sqlite),
    ROW("migrations/0143_job_due.postgres.sql", migration_0143_job_due_postgres),
    ROW("migrations/0143_job_due.sqlite.sql", migration_0143_job_due_sqlite),
    ROW("migrations/0011_sessions.sql", migration_0011_sessions),
    ROW("migrations/0130_attribution_models.sql", migration_0130_attribution_models),
    ROW("migrations/0131_postbacks.sql", migration_0131_postbacks),
    ROW("migrations/0132_spend.sql", migration_0132_spend),
    ROW("migrations/0133_campaign_results.sql", migration_0133_campaign_results),
    ROW("migrations/0150_attribution_log.sql", migration_0150_attribution_log),
    ROW("migrations/0160_attribution_people.sql", migration_0160_attribution_people),
    ROW("migrations/0161_campaign_budgets.sql", migration_0161_campaign_budgets),
    ROW("migrations/0200_isolated_breakers.sql", migration_0200_isolated_breakers),
    ROW("migrations/0201_outbox_rejected.sql", migration_0201_outbox_rejected),
    ROW("migrations/0210_attribution_as_of.sql", migration_0210_attribution_as_of),
    ROW("migrations/0211_spend_history.sql", migration_0211_spend_history),
    ROW("migrations/0240_attribution_ads.sql", migration_0240_attribution_ads),
    ROW("migrations/0250_callbacks.sql", migration_0250_callbacks),
    ROW("migrations/0265_attribution_schedules.sql", migration_0265_attribution_schedules),
    ROW("migrations/0266_attribution_restated.sql", migration_0266_attribution_restated),
    ROW("migrations/0280_postback_values.sql", migration_0280_postback_values),
    ROW("migrations/0290_experiments.sql", migration_0290_experiments),
    ROW("migrations/0295_attribution_windows.sql", migration_0295_attribution_windows),
    ROW("migrations/0300_attribution_refunds.sql", migration_0300_attribution_refunds),
    ROW("migrations/0305_reengagements.sql", migration_0305_reengagements),
    ROW("migrations/0315_export_schedules.sql", migration_0315_export_schedules),
    ROW("migrations/0320_attribution_changes.sql", migration_0320_attribution_changes),
    ROW("migrations/0230_attribution_evidence.sql", migration_0230_attribution_evidence),
    ROW("migrations/0220_stop_rules.sql", migration_0220_stop_rules),
    ROW("migrations/0270_observed_breakers.sql", migration_0270_observed_breakers),
    ROW("migrations/0190_uploads.sql", migration_0190_uploads),
    ROW("migrations/0170_installs.sql", migration_0170_installs),
    ROW("migrations/0171_links.sql", migration_0171_links),
    ROW("rules/score-rooftop.json", rules_score_rooftop),
    ROW("rules/score-community-solar.json", rules_score_community_solar),
    ROW("rules/score-building.json", rules_score_building),
    ROW("rules/score-commercial.json", rules_score_commercial),
    ROW("migrations/0003_conversation.sql", migration_0003_conversation),
    ROW("flows/core.yaml", flows_core),
    ROW("flows/solar.qualify.yaml", flows_solar_qualify),
    ROW("web/layout.mustache", web_layout),
    ROW("web/landing.mustache", web_landing),
    ROW("web/dashboard.mustache", web_dashboard),
    ROW("web/explain.mustache", web_explain),
    ROW("web/nav.mustache", web_nav),
    ROW("web/menu.js", web_menu_js),
    ROW("web/field.mustache", web_field),
    ROW("web/form.mustache", web_form),
    ROW("web/tabs.mustache", web_tabs),
    ROW("web/runs.mustache", web_runs),
    ROW("web/experiments.mustache", web_experiments),
    ROW("web/windows.mustache", web_windows),
    ROW("web/weights.mustache", web_weights),
    ROW("web/schemas.mustache", web_schemas),
    ROW("web/explore.mustache", web_explore),
    ROW("web/campaigns.mustache", web_campaigns),
    ROW("web/campaigns.js", web_campaigns_js),
    ROW("web/installs.js", web_installs_js),
    ROW("web/postbacks.js", web_postbacks_js),
    ROW("web/cohorts.mustache", web_cohorts),
    ROW("web/budgets.js", web_budgets_js),
    ROW("web/cohorts.js", web_cohorts_js),
    ROW("web/uploads.mustache", web_uploads),
    ROW("web/lists.js", web_lists_js),
    ROW("web/callbacks.js", web_callbacks_js),
    ROW("web/uploads.js", web_uploads_js),
    ROW("migrations/0180_fraud.sql", migration_0180_fraud),
    ROW("web/journeys.mustache", web_journeys),
    ROW("web/journeys.js", web_journeys_js),
    ROW("web/fraud.mustache", web_fraud),
    ROW("web/fraud.js", web_fraud_js),
    ROW("web/jobs.mustache", web_jobs),
    ROW("web/jobs.js", web_jobs_js),
    ROW("web/database.mustache", web_database),
    ROW("web/database.js", web_database_js),
    ROW("web/live.mustache", web_live),
    ROW("web/funnel.mustache", web_funnel),
    ROW("web/problem.mustache", web_problem),
    ROW("web/questions.css", web_questions_css),
    ROW("web/questions.js", web_questions_js),
    ROW("web/explore.js", web_explore_js),
    ROW("web/live.js", web_live_js),
    ROW("web/funnel.js", web_funnel_js),
    ROW("web/login.mustache", web_login),
    ROW("web/app.css", web_app_css),
    ROW("web/chat.js", web_chat_js),
    ROW("web/dashboard.js", web_dashboard_js),
    ROW("web/explain.js", web_explain_js),
    ROW("web/privacy.js", web_privacy_js),
    ROW("web/tracker.js", web_tracker_js),
    ROW("web/favicon.svg", web_favicon_svg),
    ROW("web/chart.min.js", web_chart_min_js),
    ROW("solar/stations.json", solar_stations),
    ROW("solar/reference.json", solar_reference),
    ROW("places/territory-overlay.json", places_territory_overlay),
    ROW("rules/solar-rules.json", rules_solar_rules),
    { NULL, NULL, 0 },
};

const aurum_asset *aurum_assets(void) { return table; }
