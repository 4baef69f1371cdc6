//! Who asks.

use super::{
    Cluster,
    request::{self, Problem, attempt},
};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
use kube::{Api, api::PostParams};

/// Who asks, as the API server knows them; `None` if its answer does not say.
///
/// # Errors
/// If it does not answer: servers before 1.28 do not know the question, and say so by 404.
pub async fn whoami(cluster: &Cluster) -> Result<Option<UserInfo>, Problem> {
    let reviews: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let (params, review) = (PostParams::default(), SelfSubjectReview::default());
    let limit = request::limit(cluster.request_timeout);
    let review = attempt(limit, reviews.create(&params, &review)).await?;
    Ok(review.status.and_then(|status| status.user_info))
}
